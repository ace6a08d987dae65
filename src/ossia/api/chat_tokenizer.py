"""ChatTokenizer: `apply_chat_template` with transformers' arguments, over Ossia's own parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from ossia.errors import RequestError
from ossia.harmony.chat_template import ChatTemplate, Spans, Tool
from ossia.tokenizer import Tokenizer, special

Chat = Sequence[Mapping[str, Any]]
_SPECIAL_TOKENS = {
    "bos_token": special.SPECIAL_TOKENS[special.STARTOFTEXT],
    "eos_token": special.SPECIAL_TOKENS[special.RETURN],
    "pad_token": special.SPECIAL_TOKENS[special.ENDOFTEXT],
}


class ChatInputs(dict[str, Any]):
    """What a model is called with: `input_ids`, `attention_mask`, and `assistant_masks` if asked."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (lists, arrays or tensors)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, device: str | torch.device) -> ChatInputs:
        """The same with tensors on this device; what is no tensor stays as it is."""
        return ChatInputs(
            (name, value.to(device) if isinstance(value, torch.Tensor) else value)
            for name, value in self.items()
        )


@dataclass(slots=True)
class _Row:
    """One chat as ids, each with whether it is text (not padding) and an assistant's."""

    ids: list[int]
    attention: list[int]
    assistant: list[int]

    def truncate(self, length: int) -> None:
        for values in (self.ids, self.attention, self.assistant):
            del values[length:]

    def pad(self, length: int) -> None:
        missing = length - len(self.ids)
        self.ids += [special.ENDOFTEXT] * missing
        self.attention += [0] * missing
        self.assistant += [0] * missing


class ChatTokenizer:
    """A tokenizer with the chat template of its checkpoint.

    Args:
        tokenizer: Text to ids.
        template: Chats to text.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self.tokenizer = tokenizer
        self.template = template

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> ChatTokenizer:
        """The tokenizer and the chat template of a checkpoint folder.

        Raises:
            CheckpointError: one of them is missing or damaged.
            HarmonyError: the template is not valid Jinja.
        """
        return cls(Tokenizer.from_folder(folder), ChatTemplate.from_folder(folder))

    def apply_chat_template(
        self,
        conversation: Chat | Sequence[Chat],
        tools: Sequence[Tool] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        padding: bool | Literal["longest", "max_length", "do_not_pad"] = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: Literal["pt", "np"] | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        **variables: object,
    ) -> Any:  # noqa: ANN401  (text, ids, tensors or inputs, as asked)
        """Write a chat, or several, as a prompt.

        Args:
            conversation: Messages, or a list of such lists.
            tools: JSON schemas, or functions with type hints and a docstring.
            documents: Objects with a title and a text, for templates that show them.
            chat_template: A template in place of the checkpoint's.
            add_generation_prompt: End with the start of the assistant's next message.
            continue_final_message: End inside the last message, behind its `content` or the field
                of this name.
            tokenize: Give ids rather than text. Special tokens that text imitates are real in the
                ids: a chat with untrusted text goes through `ossia.harmony.Renderer`.
            padding: True or "longest" fills up to the longest chat, "max_length" to `max_length`,
                on the right.
            truncation: Cut what exceeds `max_length`, on the right.
            max_length: In tokens.
            return_tensors: "pt" or "np" for tensors or arrays (chats, length) instead of lists.
            return_dict: Give `ChatInputs` rather than ids alone.
            return_assistant_tokens_mask: Add `assistant_masks`, 1 for what stands in the
                template's `{% generation %}` blocks.
            variables: What else the template takes: `reasoning_effort`, `model_identity`,
                `builtin_tools`, `thinking`, ...

        Returns:
            Text, ids (lists or a tensor) or `ChatInputs`; lists of them for several chats.

        Raises:
            RequestError: arguments that are unknown or contradict each other, or no messages.
            HarmonyError: the template refuses the chat, or fails.
        """
        masked = return_assistant_tokens_mask
        if masked and not (return_dict and tokenize):
            raise RequestError(
                "it needs return_dict=True and tokenize=True", field="return_assistant_tokens_mask"
            )
        if continue_final_message and (add_generation_prompt or masked):
            other = "add_generation_prompt" if add_generation_prompt else "assistant masks"
            raise RequestError(f"it cannot go with {other}", field="continue_final_message")
        chats, is_batched = _as_batch(conversation)
        template = self.template if chat_template is None else ChatTemplate(chat_template)
        arguments: dict[str, Any] = {
            "tools": tools,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
            **_SPECIAL_TOKENS,
            **variables,
        }
        if masked:
            written = [template.render_with_spans(chat, **arguments) for chat in chats]
        else:
            arguments["continue_final_message"] = continue_final_message
            written = [(template.render(chat, **arguments), []) for chat in chats]
        if not tokenize:
            texts = [text for text, _ in written]
            return texts if is_batched else texts[0]
        rows = [self._row(text, spans) for text, spans in written]
        _fit(rows, padding, truncation, max_length)
        names = ["input_ids", "attention_mask", *(["assistant_masks"] if masked else [])]
        columns = (
            [row.ids for row in rows],
            [row.attention for row in rows],
            [row.assistant for row in rows],
        )
        found = ChatInputs(
            (name, _shaped(column, return_tensors, is_batched=is_batched))
            for name, column in zip(names, columns, strict=False)
        )
        return found if return_dict else found["input_ids"]

    def _row(self, text: str, spans: Spans) -> _Row:
        ids = self.tokenizer.encode_with_special(text)
        return _Row(ids, [1] * len(ids), self._assistant_mask(text, ids, spans))

    def _assistant_mask(self, text: str, ids: list[int], spans: Spans) -> list[int]:
        """1 for tokens that hold a byte of a span."""
        mask = [0] * len(ids)
        if not spans:
            return mask
        ends = list(accumulate(len(self.tokenizer.token_bytes(token)) for token in ids))
        for span in spans:
            first, last = (len(text[:place].encode(errors="surrogatepass")) for place in span)
            begin = 0
            for position, end in enumerate(ends):
                mask[position] |= first < last and begin < last and end > first
                begin = end
        return mask


def _as_batch(conversation: Chat | Sequence[Chat]) -> tuple[list[Chat], bool]:
    if not conversation:
        raise RequestError("there is no message", field="conversation")
    is_batched = isinstance(conversation[0], Sequence)
    chats = cast("Sequence[Chat]", conversation if is_batched else [conversation])
    # Many templates would write "None" where an API says that there is nothing.
    return [
        [{name: value for name, value in message.items() if value is not None} for message in chat]
        for chat in chats
    ], is_batched


def _fit(rows: list[_Row], padding: bool | str, truncation: bool, max_length: int | None) -> None:
    """Cut and fill up."""
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        raise RequestError(
            f"{padding!r} is none of True, False, longest, max_length", field="padding"
        )
    if max_length is None and (truncation or padding == "max_length"):
        raise RequestError("it is needed to cut or fill up to it", field="max_length")
    if truncation:
        for row in rows:
            row.truncate(max_length or 0)
    if padding in (True, "longest"):
        length = max(len(row.ids) for row in rows)
    elif padding == "max_length":
        length = max_length or 0
    else:
        return
    for row in rows:
        row.pad(length)


def _shaped(rows: list[list[int]], kind: str | None, *, is_batched: bool) -> Any:  # noqa: ANN401
    if kind is None:
        return rows if is_batched else rows[0]
    if kind not in ("pt", "np"):
        raise RequestError(f"{kind!r} is neither pt nor np", field="return_tensors")
    if len({len(row) for row in rows}) > 1:
        raise RequestError("chats of different lengths need padding=True", field="return_tensors")
    return torch.tensor(rows) if kind == "pt" else np.array(rows, dtype=np.int64)
