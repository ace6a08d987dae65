"""Question: a conversation that waits for an answer, and how the answer is to be given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from ossia.api.tools import Tool
from ossia.harmony import Message
from ossia.structured import Grammar
from ossia.types import SamplingParams


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a model.

    Args:
        messages: From the system message to what is to be answered; `opening_messages` makes the
            first ones. They must offer the tools.
        sampling: How to draw; `max_tokens` and `min_tokens` are for the whole answer.
        stop: Strings that end the text for the user; they are cut off. They are looked for neither
            in reasoning nor in tool calls.
        tools: What the functions named in the messages do. Those that have a function are run, and
            the model goes on with the result.
        max_tool_runs: Calls that are run; once there were that many the tools are no longer on
            offer. None has no limit.
        tool_choice: "auto", "none", "required", or the recipient that must be called first, such
            as `functions.f`. Once a call was made, the model may go on as it likes.
        reasoning: Whether the model may think before it answers.
        final_only: Only the answer may come: no reasoning, no words before it, no calls.
        grammars: What contents must look like: by "final" for the answer, by recipient for the
            arguments of calls.
        deadline: `time.monotonic()` value after which the answer ends with DEADLINE.
        priority: Lower runs first.
        cache_salt: Only questions of the same salt share what was computed of their prompts.
    """

    messages: Sequence[Message]
    _: KW_ONLY
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stop: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    max_tool_runs: int | None = None
    tool_choice: str = "auto"
    reasoning: bool = True
    final_only: bool = False
    grammars: Mapping[str, Grammar] = field(default_factory=dict[str, Grammar])
    deadline: float = math.inf
    priority: int = 0
    cache_salt: str = ""
