"""Which names the model answers to."""

from __future__ import annotations

import re

from ossia.server.api_error import ApiError
from ossia.server.state import ServerState

_RELEASED = re.compile(r"gpt-oss-(20b|120b)")


def model_names(state: ServerState) -> list[str]:
    """The names under which the model may be asked for, the one it is served under first.

    Besides those chosen there is the last part of a path or hub id, and for the released models
    the name that other local servers have for them, such as `gpt-oss:20b`.
    """
    served = state.service.model
    names = [served, *state.settings.aliases]
    short = served.rstrip("/").rpartition("/")[2]
    if short:
        names.append(short)
    if (released := _RELEASED.fullmatch(short)) is not None:
        names.append(f"gpt-oss:{released[1]}")
    return list(dict.fromkeys(names))


def context_length(state: ServerState) -> int | None:
    """Tokens of prompt and output together at most; None until the model is loaded."""
    try:
        return state.service.max_context
    except ApiError:
        return None


def require_model(state: ServerState, name: str | None) -> str:
    """The name of the model that a request asks for.

    Args:
        state: Of the server.
        name: As the request has it; `@revision` and `:latest` at its end do not matter. None is
            whatever is served.

    Raises:
        ApiError: 404: it is not served here.
    """
    served = state.service.model
    names = model_names(state)
    if name is None or name in names:
        return served
    if name.partition("@")[0].removesuffix(":latest") in names:
        return served
    raise ApiError.not_found(
        f"The model {name[:200]!r} does not exist here; this server offers {served!r}.",
        param="model",
        code="model_not_found",
    )
