"""ChatTemplating: the part of a tokenizer that writes chats as prompts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from ossia.api.tokenizing.batch_encoding import BatchEncoding, as_tensor
from ossia.api.tokenizing.chat_inputs import Chat, as_batch, check_variables, marked
from ossia.api.tokenizing.encoded_text import EncodedText
from ossia.errors import RequestError
from ossia.harmony.chat_template import ChatTemplate, Spans, Tool
from ossia.tokenizer import Tokenizer


def _local_now() -> datetime:
    return datetime.now().astimezone()


class ChatTemplating:
    """What a tokenizer with a chat template can do besides.

    Args:
        chat_template: Jinja; None if there is none.
        now: Tells the time to templates that ask for the date.
    """

    # Of the tokenizer that this is a part of.
    tokenizer: Tokenizer
    _encoding: Callable[..., BatchEncoding]

    def __init__(
        self, chat_template: str | None, *, now: Callable[[], datetime] = _local_now
    ) -> None:
        self._now = now
        self._template: ChatTemplate | None = None
        self._source: str | None = None
        self.chat_template = chat_template

    @property
    def chat_template(self) -> str | None:
        """The template's text. Set, it is compiled when first used."""
        return self._source

    @chat_template.setter
    def chat_template(self, source: str | None) -> None:
        if source is not None and not isinstance(source, str):
            raise RequestError("one template is needed, as text", field="chat_template")
        self._source, self._template = source, None

    def get_chat_template(
        self, chat_template: str | None = None, tools: Sequence[Tool] | None = None
    ) -> str:
        """The template that chats are written with.

        Args:
            chat_template: One in place of the checkpoint's.
            tools: Makes no difference: there is one template.

        Raises:
            RequestError: the checkpoint has none.
        """
        del tools
        source = self._source if chat_template is None else chat_template
        if source is None:
            raise RequestError(
                "this checkpoint has none; give one, or set tokenizer.chat_template",
                field="chat_template",
            )
        return source

    def apply_chat_template(
        self,
        conversation: Chat | Sequence[Chat],
        tools: Sequence[Tool] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        padding: bool | Literal["longest", "max_length", "do_not_pad"] = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: Literal["pt", "np"] | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
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
            tokenize: Give ids rather than text.
            sanitize_control_tokens: Keep special tokens that the messages, tools, documents or
                variables imitate text. As in transformers they are real otherwise: set this, or use
                `ossia.harmony.Renderer`, wherever the text is not yours.
            padding: True or "longest" fills up to the longest chat, "max_length" to `max_length`.
            truncation: Cut what exceeds `max_length`.
            max_length: In tokens; None is the tokenizer's `model_max_length`.
            return_tensors: "pt" or "np" for tensors or arrays (chats, length) instead of lists.
            return_dict: Give a `BatchEncoding` rather than ids alone.
            return_assistant_tokens_mask: Add `assistant_masks`, 1 for what stands in the
                template's `{% generation %}` blocks.
            tokenizer_kwargs: What else the tokenizer's own call takes, such as `padding_side`.
            variables: What else the template takes: `reasoning_effort`, `model_identity`,
                `builtin_tools`, ...

        Returns:
            Text, ids (lists or a tensor) or a `BatchEncoding`; of them several for several chats.

        Raises:
            RequestError: arguments that are unknown or contradict each other, or no messages.
            HarmonyError: the template refuses the chat, or fails.
        """
        masked = return_assistant_tokens_mask
        self._check(
            masked, return_dict and tokenize, bool(continue_final_message), add_generation_prompt
        )
        if sanitize_control_tokens and (not tokenize or masked):
            raise RequestError("it needs ids, and no masks", field="sanitize_control_tokens")
        chats, is_batched = as_batch(conversation)
        mark = f"<mark {secrets.token_hex(8)}>" if sanitize_control_tokens else ""
        template = self._compiled(chat_template)
        check_variables(template, documents, tools, variables)
        if mark:
            chats, tools, documents, variables = marked(mark, chats, tools, documents, variables)
        arguments: dict[str, Any] = {
            "tools": tools,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
            **self._named_tokens(),
            **variables,
        }
        written = _write(template, chats, arguments, continue_final_message, masked)
        if not tokenize:
            texts = [text for text, _ in written]
            return texts if is_batched else texts[0]
        rows = [self._row(text, mark) for text, _ in written]
        found = self._encoding(
            rows,
            is_batched,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            return_tensors=return_tensors,
            **(tokenizer_kwargs or {}),
        )
        if masked:
            masks = [
                _assistant_mask(row, spans) for row, (_, spans) in zip(rows, written, strict=True)
            ]
            column = masks if is_batched or return_tensors else masks[0]
            found["assistant_masks"] = (
                as_tensor(column, return_tensors) if return_tensors else column
            )
        return found if return_dict else found["input_ids"]

    def encode_message_with_chat_template(
        self,
        message: Mapping[str, Any],
        conversation_history: Chat | None = None,
        **arguments: Any,  # noqa: ANN401  (those of apply_chat_template)
    ) -> list[int]:
        """Ids that a message adds to a chat.

        Args:
            message: The last message.
            conversation_history: Those before it.
            arguments: Those of `apply_chat_template`, but not `add_generation_prompt`.

        Raises:
            RequestError: as from `apply_chat_template`.
        """
        if "add_generation_prompt" in arguments:
            raise RequestError("write the prompt for a reply apart", field="add_generation_prompt")
        history = list(conversation_history or ())
        whole = self.apply_chat_template([*history, message], return_dict=False, **arguments)
        if not history:
            return whole
        before = self.apply_chat_template(history, return_dict=False, **arguments)
        pairs = enumerate(zip(before, whole, strict=False))
        same = next((place for place, (one, other) in pairs if one != other), None)
        return whole[len(before) if same is None else same :]

    def _named_tokens(self) -> Mapping[str, Any]:
        """Special tokens that templates may name, such as `eos_token`."""
        raise NotImplementedError

    def _compiled(self, source: str | None) -> ChatTemplate:
        wanted = self.get_chat_template(source)
        if source is not None and source != self._source:
            return ChatTemplate(wanted, now=self._now)
        if self._template is None:
            self._template = ChatTemplate(wanted, now=self._now)
        return self._template

    def _row(self, text: str, mark: str) -> EncodedText:
        if mark:
            return EncodedText.of_marked(self.tokenizer, text, mark)
        return EncodedText.of(self.tokenizer, text, split_special=False)

    @staticmethod
    def _check(masked: bool, named: bool, is_open: bool, is_prompt: bool) -> None:
        if masked and not named:
            raise RequestError(
                "it needs return_dict=True and tokenize=True", field="return_assistant_tokens_mask"
            )
        if is_open and (is_prompt or masked):
            other = "add_generation_prompt" if is_prompt else "assistant masks"
            raise RequestError(f"it cannot go with {other}", field="continue_final_message")


def _write(
    template: ChatTemplate,
    chats: list[Chat],
    arguments: dict[str, Any],
    continue_final_message: bool | str,
    masked: bool,
) -> list[tuple[str, Spans]]:
    if masked:
        return [template.render_with_spans(chat, **arguments) for chat in chats]
    arguments["continue_final_message"] = continue_final_message
    return [(template.render(chat, **arguments), []) for chat in chats]


def _assistant_mask(row: EncodedText, spans: Spans) -> list[int]:
    """1 for tokens that hold a character of a span."""
    return [
        int(is_text and any(begin < last and first < end for first, last in spans))
        for is_text, (begin, end) in zip(row.attention_mask, row.offsets, strict=True)
    ]
