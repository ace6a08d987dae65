"""PostgresCluster: a PostgreSQL server of the tests' own, on a socket in a temporary folder."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

_TESTS = Path(__file__).parents[1]


class PostgresCluster:
    """A server that anybody on this machine may use until the tests end.

    Args:
        programs: The folder of `initdb` and `pg_ctl`.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="ossia-pg-"))  # a socket's path must be short
        # PostgreSQL does not run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "--auth=trust", "--username=ossia", "--encoding=UTF8", "--no-sync")
        self.start()
        atexit.register(self.destroy)

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgresql://ossia@/postgres?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder} -c fsync=off"
        log = self._folder / "log"
        self._run("pg_ctl", "--silent", f"--log={log}", f"--options={options}", "--wait", "start")

    def stop(self, mode: str = "fast") -> None:
        """End it: "fast", or "immediate", which is a crash."""
        self._run("pg_ctl", "--silent", f"--mode={mode}", "--wait", "stop")

    def destroy(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self._folder / 'data'}", *arguments]
        environ = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(
            command,
            user=self._user,
            cwd="/",
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout)


def why_not() -> str | None:
    """Why there is no PostgreSQL here; None if there is."""
    if _programs() is None:
        return "needs PostgreSQL's initdb and pg_ctl"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "needs psycopg"
    return None


@functools.cache
def cluster() -> PostgresCluster:
    """The one of this process."""
    programs = _programs()
    assert programs is not None, why_not()
    return PostgresCluster(programs)


def fresh_schema() -> str:
    """A name that no test has used."""
    return f"test_{uuid.uuid4().hex}"


def _programs() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    return installed[-1].parent if installed else None


def _version(program: Path) -> float:
    return float(program.parents[1].name)
