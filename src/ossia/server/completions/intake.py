"""What a completion request amounts to: token ids to go on with, and how."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ossia.server.api_error import ApiError
from ossia.server.completions.schemas import CompletionRequest
from ossia.server.model_names import require_model
from ossia.server.sampling_fields import checked_n, sampling_params
from ossia.server.state import ServerState
from ossia.tokenizer import special
from ossia.types import Request, SamplingParams

END_TOKENS = (special.RETURN, special.CALL, special.ENDOFTEXT)
"""What ends an output that is no conversation."""

_MAX_PROMPTS = 256
_DEFAULT_TOKENS = 16  # the hosted API's
_LONG_TEXT = 20_000  # characters from which a prompt is encoded beside the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionPlan:
    """What is to be done for a request.

    Args:
        body: The request.
        model: The name of the model that answers.
        requests: One for each choice; those of a prompt stand together.
        num_choices: How many belong to each prompt.
        max_tokens: Of a choice; 0 shows the prompt alone.
    """

    body: CompletionRequest
    model: str
    requests: tuple[Request, ...]
    num_choices: int
    max_tokens: int


async def plan_completion(body: CompletionRequest, state: ServerState) -> CompletionPlan:
    """Read a request.

    Raises:
        ApiError: it cannot be served as asked; names the field.
    """
    model = require_model(state, body.model)
    _refuse_unoffered(body)
    n = checked_n(body, state.settings.max_n)
    max_tokens = _DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    sampling = _sampling(body, max_tokens)
    requests: list[Request] = []
    deadline = time.monotonic() + state.settings.request_timeout
    for ids in await _prompts(body, state):
        for index in range(n):
            requests.append(
                Request(
                    request_id=f"cmpl-{uuid.uuid4().hex}",
                    prompt_ids=ids,
                    sampling=_with_seed(sampling, index),
                    deadline=deadline,
                    priority=body.priority or 0,
                    cache_salt=body.cache_salt or "",
                )
            )
    return CompletionPlan(
        body=body, model=model, requests=tuple(requests), num_choices=n, max_tokens=max_tokens
    )


def _sampling(body: CompletionRequest, max_tokens: int) -> SamplingParams:
    sampling = sampling_params(body, max_tokens=max(1, max_tokens), logprobs=body.logprobs)
    return replace(
        sampling,
        stop_token_ids=tuple({*sampling.stop_token_ids, *END_TOKENS}),
        prompt_logprobs=body.logprobs if body.echo else None,
    )


def _with_seed(sampling: SamplingParams, index: int) -> SamplingParams:
    if sampling.seed is None:
        return sampling
    return replace(sampling, seed=(sampling.seed + index) % 2**63)


async def _prompts(body: CompletionRequest, state: ServerState) -> list[tuple[int, ...]]:
    tokenizer = state.service.tokenizer
    encode = tokenizer.encode_with_special if body.allow_special else tokenizer.encode
    prompts = _listed(body.prompt)
    if not 0 < len(prompts) <= _MAX_PROMPTS:
        raise ApiError(
            f"Invalid value for 'prompt': give 1 to {_MAX_PROMPTS} prompts.", param="prompt"
        )
    _check_ids(prompts, state.service.vocab_size)
    if sum(len(prompt) for prompt in prompts if isinstance(prompt, str)) > _LONG_TEXT:
        return await asyncio.to_thread(_encoded, prompts, encode)
    return _encoded(prompts, encode)


def _listed(prompt: Any) -> Sequence[str | Sequence[int]]:  # noqa: ANN401
    """One prompt or many, of text or ids, as a list."""
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if prompt and isinstance(prompt[0], int):
        return [cast("list[int]", prompt)]
    return prompt


def _check_ids(prompts: Sequence[str | Sequence[int]], vocab_size: int) -> None:
    for prompt in prompts:
        if not isinstance(prompt, str) and any(not 0 <= one < vocab_size for one in prompt):
            raise ApiError(
                f"Invalid value for 'prompt': token ids are from 0 to {vocab_size - 1}.",
                param="prompt",
            )


def _encoded(
    prompts: Sequence[str | Sequence[int]], encode: Callable[[str], list[int]]
) -> list[tuple[int, ...]]:
    # As the hosted API, an empty prompt begins a new text.
    return [
        tuple(encode(prompt) if isinstance(prompt, str) else prompt) or (special.ENDOFTEXT,)
        for prompt in prompts
    ]


def _refuse_unoffered(body: CompletionRequest) -> None:
    if body.suffix:
        raise _not_offered("suffix", "gpt-oss was not trained to fill in the middle of a text")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise _not_offered("best_of", "ask for as many choices with 'n' and take the best")
    if body.response_format is not None:
        raise _not_offered("response_format", "use /v1/chat/completions for enforced formats")
    if body.stream_options is not None and not body.stream:
        raise ApiError("'stream_options' is only for `stream: true`.", param="stream_options")


def _not_offered(name: str, why: str) -> ApiError:
    return ApiError(f"'{name}' is not offered: {why}.", param=name, code="unsupported_parameter")
