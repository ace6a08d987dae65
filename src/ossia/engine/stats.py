"""EngineStats: what an engine has done so far, and what it has before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class EngineStats:
    """Counters since the start, and the state after the last step.

    Args:
        steps: Forward passes.
        computed_tokens: Tokens that went through the model, recomputed ones included.
        prompt_tokens: Prompt tokens of started requests.
        cached_tokens: Those of them that the prefix cache had.
        output_tokens: Tokens produced.
        preemptions: Sequences that lost their pages to another and start over.
        finished: Continuations that ended, for whatever reason.
        failed_steps: Forward passes that raised.
        num_waiting: Sequences without pages.
        num_running: Sequences with pages.
        pages_held: Pages that running sequences own.
        num_pages: Pages there are.
    """

    steps: int = 0
    computed_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    finished: int = 0
    failed_steps: int = 0
    num_waiting: int = 0
    num_running: int = 0
    pages_held: int = 0
    num_pages: int = 0
