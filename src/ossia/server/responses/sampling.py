"""How a request wants tokens drawn."""

from __future__ import annotations

from typing import Final

from ossia.server.api_error import ApiError
from ossia.server.responses.schemas import ReasoningParam, ResponseRequest
from ossia.server.sampling_fields import SMALLEST_TOP_P
from ossia.types import SamplingParams

LOGPROBS: Final = "message.output_text.logprobs"

_MAX_STOPS: Final = 16


def sampling_of(request: ResponseRequest) -> SamplingParams:
    """The parameters of a request; what it leaves out is drawn as OpenAI recommends.

    Raises:
        ApiError: `logit_bias` is none.
        RequestError: a value is out of range.
    """
    given = {
        "temperature": request.temperature,
        "top_p": None if request.top_p is None else max(request.top_p, SMALLEST_TOP_P),
        "top_k": None if request.top_k is None else max(request.top_k, 0),
        "min_p": request.min_p,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repetition_penalty": request.repetition_penalty,
        "logit_bias": _logit_bias(request.logit_bias),
        "max_tokens": 1 if request.only_prefills else request.output_limit,
        "logprobs": (request.top_logprobs or 0) if wants_logprobs(request) else None,
    }
    return SamplingParams(**{name: value for name, value in given.items() if value is not None})


def wants_logprobs(request: ResponseRequest) -> bool:
    """Whether the answer's tokens are to come with log-probabilities."""
    return request.includes(LOGPROBS) or bool(request.top_logprobs)


def stop_strings(request: ResponseRequest) -> list[str]:
    """What ends the answer.

    Raises:
        ApiError: there are too many, or one is empty.
    """
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if len(stop) > _MAX_STOPS or not all(stop):
        raise ApiError(
            f"Invalid value for 'stop': at most {_MAX_STOPS} strings, none of them empty.",
            param="stop",
        )
    return stop


def asked_effort(reasoning: ReasoningParam | None) -> str | None:
    """The effort in the word that was used."""
    return reasoning.effort if reasoning is not None else None


def _logit_bias(given: dict[str, float] | None) -> dict[int, float] | None:
    if given is None:
        return None
    if not all(key.isdecimal() and len(key) < 10 for key in given):
        raise ApiError(
            "Invalid value for 'logit_bias': its keys must be token ids.", param="logit_bias"
        )
    return {int(key): value for key, value in given.items()}
