"""Playing requests through an engine, all queued at once, and noting when each token comes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from ossia.bench.request_timing import RequestTiming
from ossia.engine.core import EngineCore
from ossia.errors import OssiaError
from ossia.types import Request, SamplingParams

_NUMBERS = count()
_GREEDY = SamplingParams(temperature=0.0)
Prompt = tuple[int, ...]


def random_prompt(numbers: random.Random, vocab: int, length: int) -> Prompt:
    """So many ids, all below `vocab` alike likely."""
    return tuple(numbers.choices(range(vocab), k=length))


def play(
    core: EngineCore,
    prompts: Sequence[Prompt],
    output_tokens: int | Sequence[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
    between_steps: Callable[[], None] = lambda: None,
    max_steps: int | None = None,
    cached_tokens: int = 0,
    sampling: SamplingParams = _GREEDY,
) -> list[RequestTiming]:
    """Run prompts to the end of their outputs, whatever tokens come.

    Args:
        core: Has no work.
        prompts: All queued before the first step.
        output_tokens: Length of the outputs, or of each.
        clock: Seconds.
        between_steps: Called behind each step.
        max_steps: Give up after so many, and end what still runs; None never.
        cached_tokens: How many of each prompt's tokens the prefix cache has to hold.
        sampling: How tokens are drawn; lengths and seeds are set here.

    Returns:
        For each prompt when its tokens came.

    Raises:
        OssiaError: a forward pass failed, or the cache held another number of tokens.
    """
    lengths = [output_tokens] * len(prompts) if isinstance(output_tokens, int) else output_tokens
    begun = clock()
    timings: dict[str, RequestTiming] = {}
    for number, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        request = Request(
            request_id=f"bench-{next(_NUMBERS)}",
            prompt_ids=prompt,
            sampling=replace(sampling, seed=number, max_tokens=length),
        )
        core.submit(request)
        timings[request.request_id] = RequestTiming(started=begun, input_tokens=len(prompt))
    steps = 0
    while core.has_work and (max_steps is None or steps < max_steps):
        outputs, now = core.step(), clock()
        steps += 1
        for output in outputs:
            if output.error is not None:
                raise OssiaError(f"a forward pass failed: {output.error}")
            if output.cached_tokens != cached_tokens:
                raise OssiaError(
                    f"{output.cached_tokens} tokens of a prompt were cached in place of "
                    f"{cached_tokens}; the KV cache is too small for this"
                )
            timing = timings[output.request_id]
            timing.pieces.append(now)
            timing.output_tokens += 1
        between_steps()
    for request_id in core.live_requests:
        core.abort(request_id)
    return list(timings.values())
