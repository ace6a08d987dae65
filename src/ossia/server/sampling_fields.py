"""SamplingFields: how to draw, in the names that chat and text completions share."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from ossia.errors import RequestError
from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel
from ossia.server.cache_salt import CacheSalt
from ossia.types import SamplingParams

_SEED_MASK = 2**63 - 1
_INT32 = 2**31
SMALLEST_TOP_P: Final = 1e-9
"""What 0 is taken as: only the likeliest token is kept."""


class SamplingFields(RequestModel):
    """Fields of the hosted API, and further ones that local servers have in common."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    priority: Annotated[int, Field(ge=-_INT32, lt=_INT32)] | None = None
    cache_salt: CacheSalt | None = None

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Strings that end the answer.

        Raises:
            ApiError: there are too many, or one is empty.
        """
        listed = [self.stop] if isinstance(self.stop, str) else (self.stop or [])
        if len(listed) > _MAX_STOPS or not all(listed):
            raise ApiError(
                f"Invalid value for 'stop': at most {_MAX_STOPS} strings, none of them empty.",
                param="stop",
            )
        return tuple(listed)


_MAX_STOPS = 16

_SAME_NAME = (
    "temperature",
    "frequency_penalty",
    "presence_penalty",
    "min_p",
    "repetition_penalty",
    "min_tokens",
)


def sampling_params(
    fields: SamplingFields, *, max_tokens: int | None, logprobs: int | None
) -> SamplingParams:
    """How one continuation is drawn.

    Args:
        fields: As the client sent them.
        max_tokens: Of the output; the APIs have different names for it.
        logprobs: How many likely tokens are reported beside each drawn one.

    Raises:
        ApiError: a value is out of range; names the field.
    """
    given = {name: value for name in _SAME_NAME if (value := getattr(fields, name)) is not None}
    if fields.top_p is not None:
        given["top_p"] = max(fields.top_p, SMALLEST_TOP_P)
    if fields.seed is not None:
        given["seed"] = fields.seed & _SEED_MASK
    if fields.top_k is not None:
        given["top_k"] = max(fields.top_k, 0)  # -1 is all for some
    if fields.logit_bias is not None:
        given["logit_bias"] = _bias(fields.logit_bias)
    if fields.stop_token_ids is not None:
        given["stop_token_ids"] = tuple(fields.stop_token_ids)
    if fields.ignore_eos:
        if max_tokens is None:
            raise ApiError("ignore_eos needs max_tokens to end anywhere", param="ignore_eos")
        given["min_tokens"] = max_tokens
    try:
        return SamplingParams(max_tokens=max_tokens, logprobs=logprobs, **given)
    except RequestError as error:
        raise ApiError.of(error) from error


def checked_n(fields: SamplingFields, limit: int) -> int:
    """How many choices are wanted.

    Raises:
        ApiError: too many.
    """
    n = fields.n or 1
    if n > limit:
        raise ApiError(f"Invalid value for 'n': {n} is more than {limit}.", param="n")
    return n


def _bias(raw: dict[str, float]) -> dict[int, float]:
    bias: dict[int, float] = {}
    for name, value in raw.items():
        if not (name.isascii() and name.isdecimal() and len(name) <= 9):
            raise ApiError(
                f"Invalid value for 'logit_bias': {name[:40]!r} is no token id.", param="logit_bias"
            )
        bias[int(name)] = value
    return bias
