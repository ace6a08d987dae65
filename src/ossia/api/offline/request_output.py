"""RequestOutput, CompletionOutput and Logprob: what an `LLM` gives, by vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ossia.api.reply import Reply


@dataclass(frozen=True, slots=True)
class Logprob:
    """The log-probability of a token at its place, before temperature and penalties.

    Args:
        logprob: Natural logarithm.
        rank: 1 for the likeliest; None if it is not among the reported ones.
        decoded_token: Its text.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


Logprobs = list[dict[int, Logprob]]
PromptLogprobs = list[dict[int, Logprob] | None]


@dataclass(slots=True)
class CompletionOutput:
    """One continuation of a prompt.

    Args:
        index: Its number among the prompt's continuations.
        text: Without what ended it, unless that was asked for.
        token_ids: All tokens, the end token included.
        cumulative_logprob: Sum of the tokens' log-probabilities, if they were asked for.
        logprobs: For each token its own and the likeliest ones' by id, if asked for.
        finish_reason: "stop" or "length"; "tool_calls" where a chat waits for a tool.
        stop_reason: The stop string or the id of the stop token that ended it; None for the
            checkpoint's end tokens.
        reply: Of chats: the same parted into reasoning, answer and tool calls.
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    reply: Reply | None = None

    def finished(self) -> bool:
        """Whether it has ended."""
        return self.finish_reason is not None


@dataclass(slots=True)
class RequestOutput:
    """A prompt with its continuations.

    Args:
        request_id: Its number, as text.
        prompt: Its text; None if it was given as ids.
        prompt_token_ids: Its ids.
        prompt_logprobs: For each of them its own log-probability and the likeliest ones', if asked
            for; None for the first, which nothing comes before.
        outputs: The continuations.
        finished: Whether all have ended.
        num_cached_tokens: Tokens of the prompt that an earlier one had computed.
        metrics: None; the command-line benchmark measures.
        lora_request: None.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    prompt_logprobs: PromptLogprobs | None = None
    outputs: list[CompletionOutput] = field(default_factory=list[CompletionOutput])
    finished: bool = False
    num_cached_tokens: int = 0
    metrics: Any = None
    lora_request: Any = None
