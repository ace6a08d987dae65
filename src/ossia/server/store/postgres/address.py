"""PostgresAddress: where a database is, and how to show that without its password."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ossia.errors import ConfigError, MissingDependencyError

_SCHEMES = ("postgresql://", "postgres://")
# What a connection gets unless the URL says otherwise; libpq's own waits go on for hours.
_DEFAULTS: dict[str, Any] = {
    "application_name": "ossia",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


@dataclass(frozen=True)
class PostgresAddress:
    """A database of a PostgreSQL server.

    Args:
        url: `postgresql://user:password@host:port/database?name=value`; what it leaves out is taken
            from libpq's variables (`PGPASSWORD`, `PGSSLMODE`, ...) and `~/.pgpass`.

    Raises:
        ConfigError: it is no such URL. The message does not repeat it.
        MissingDependencyError: psycopg is not installed.
    """

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        scheme = next((one for one in _SCHEMES if self.url.startswith(one)), None)
        if scheme is None:
            raise ConfigError("the state URL must begin with postgresql://")
        # In other places libpq takes a part of a password for a host or a port, and says so.
        rest = self.url.removeprefix(scheme)
        end = min((at for each in "/?#" if (at := rest.find(each)) >= 0), default=len(rest))
        if rest.count("@") > rest[:end].count("@") or rest[:end].count("@") > 1:
            raise ConfigError(
                "the state URL holds a character that must be written by its number, "
                "such as %40 for @, %2F for /, %3F for ? and %23 for #"
            )
        try:
            _ = self.parameters
        except _psycopg().ProgrammingError:
            raise ConfigError(
                "the state URL cannot be read; its form is "
                "postgresql://user:password@host:port/database?name=value"
            ) from None

    @property
    def parameters(self) -> dict[str, Any]:
        """What `psycopg.connect` takes."""
        return _DEFAULTS | _psycopg().conninfo.conninfo_to_dict(self.url)

    def __str__(self) -> str:
        """The database and its host; nothing secret."""
        given = self.parameters
        host = given.get("host") or given.get("hostaddr") or "this machine"
        port = f":{given['port']}" if given.get("port") else ""
        return f"{given.get('dbname') or 'the default database'} at {host}{port}"


def _psycopg() -> Any:  # noqa: ANN401 - a module
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        raise MissingDependencyError(
            "a state URL needs psycopg; install it with: pip install 'ossia[postgres]'"
        ) from error
    return psycopg
