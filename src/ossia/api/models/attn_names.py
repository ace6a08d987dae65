"""The names by which guides ask for an attention; Ossia has one, which knows sinks and windows."""

from __future__ import annotations

from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)

KNOWN = (
    "eager",
    "sdpa",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
    "flex_attention",
    "kernels-community/flash-attn2",
    "kernels-community/flash-attn3",
    "kernels-community/vllm-flash-attn3",
    "kernels-community/metal-flash-sdpa",
    "kernels-community/aiter-flash-attn",
)
_PAGED = "paged|"
_told: set[str] = set()


def checked_attention(name: str | None) -> str:
    """The name, once it is known; says once what runs in its place.

    Args:
        name: One of the names above, `paged|` before it or `@revision` or `:kernel` behind it;
            None is "eager".

    Raises:
        RequestError: another name; lists those that are known.
    """
    if name is None:
        return "eager"
    if not isinstance(name, str) or _plain(name) not in KNOWN:
        raise RequestError(
            f"{name!r} is not one of {', '.join(KNOWN)}, nor `paged|` before one",
            field="attn_implementation",
        )
    if name not in _told:
        _told.add(name)
        _log.info(
            "attn_implementation=%s: Ossia's own attention runs, which computes sinks and sliding "
            "windows exactly; nothing is downloaded",
            name,
        )
    return name


def _plain(name: str) -> str:
    return name.removeprefix(_PAGED).split("@")[0].split(":")[0]
