"""Prompts of an `LLM`: the forms that vLLM knows, read into ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.errors import RequestError


class TextPrompt(TypedDict):
    """A prompt as text."""

    prompt: str


class TokensPrompt(TypedDict):
    """A prompt as ids, with its text if it has one."""

    prompt_token_ids: Sequence[int]
    prompt: NotRequired[str]


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt that was read.

    Args:
        ids: Its tokens.
        text: Its text; None if it was given as ids.
    """

    ids: list[int]
    text: str | None = None


def read_prompts(
    prompts: Any,  # noqa: ANN401  (whatever a caller gives)
    tokenizer: PreTrainedTokenizer,
    tokenization_kwargs: Mapping[str, Any],
) -> list[PromptIds]:
    """Read one prompt, or a list of them.

    Args:
        prompts: A text, ids, or a mapping with `prompt` or `prompt_token_ids`; or a list of these.
        tokenizer: Makes ids of text.
        tokenization_kwargs: What it is called with.

    Raises:
        RequestError: something that is no prompt.
    """
    is_ids = isinstance(prompts, Sequence) and bool(prompts) and isinstance(prompts[0], int)
    if isinstance(prompts, str | Mapping) or is_ids:
        prompts = [prompts]
    if not isinstance(prompts, Sequence):
        raise RequestError(f"{type(prompts).__name__} is no prompt", field="prompts")
    return [_read(prompt, tokenizer, tokenization_kwargs) for prompt in prompts]


def _read(
    prompt: Any,  # noqa: ANN401
    tokenizer: PreTrainedTokenizer,
    tokenization_kwargs: Mapping[str, Any],
) -> PromptIds:
    if isinstance(prompt, str):
        return PromptIds(tokenizer.encode(prompt, **tokenization_kwargs), prompt)
    if isinstance(prompt, Sequence):
        return PromptIds(list(prompt))
    if not isinstance(prompt, Mapping):
        raise RequestError(f"{type(prompt).__name__} is no prompt", field="prompts")
    unknown = prompt.keys() - {"prompt", "prompt_token_ids"}
    if wrong := {name for name in unknown if prompt[name] is not None}:
        raise RequestError("is not supported; give text or ids", field=str(min(wrong)))
    if (ids := prompt.get("prompt_token_ids")) is not None:
        return PromptIds(list(ids), prompt.get("prompt"))
    if isinstance(text := prompt.get("prompt"), str):
        return PromptIds(tokenizer.encode(text, **tokenization_kwargs), text)
    raise RequestError("a prompt has neither text nor ids", field="prompts")
