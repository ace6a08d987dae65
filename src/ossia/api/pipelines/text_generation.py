"""TextGenerationPipeline: prompts and chats continued by `generate`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ossia.api.argument_table import refuse
from ossia.api.generation.config import GenerationConfig
from ossia.api.pipelines.arguments import TEXT_GENERATION
from ossia.api.pipelines.base import Pipeline, Run
from ossia.api.pipelines.text_generation_options import TextGenerationOptions
from ossia.api.reply import Reply
from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.errors import RequestError

_NEW_TOKENS = 256
_LENGTHS = ("max_new_tokens", "max_length")


@dataclass(frozen=True, slots=True)
class _Prompt:
    """An input that was read.

    `ids` are what the model sees; the first `length` of them are not part of the output.
    """

    given: Any
    ids: list[int]
    length: int
    continues: bool


class TextGenerationPipeline(Pipeline):
    """Continues texts and answers chats. All inputs of a call run side by side on the engine.

    Where neither the checkpoint nor the call says otherwise, 256 tokens are drawn at random, as
    OpenAI recommends for gpt-oss: temperature 1, top_p 1, every token.

    Args:
        model: A GptOssForCausalLM.
        tokenizer: Its tokenizer.
        assistant_model: A smaller model that proposes tokens.
        options: What calls take, unless they say otherwise.

    Attributes:
        generation_config: Settings of calls that say nothing.
    """

    task: ClassVar[str] = "text-generation"
    default_batch_size: ClassVar[int] = 256

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        tokenizer: PreTrainedTokenizer,
        *,
        assistant_model: Any = None,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> None:
        own = getattr(model, "generation_config", None)
        if own is None:
            own = GenerationConfig.from_model_config(model.config)
        self.generation_config = copy.deepcopy(own)
        if all(getattr(own, name) is None for name in _LENGTHS):
            self.generation_config.max_new_tokens = _NEW_TOKENS
        if own.do_sample is None:
            self.generation_config.do_sample = True
        if tokenizer.padding_side == "right":
            tokenizer.padding_side = "left"
        if assistant_model is not None:
            options["assistant_model"] = assistant_model
        super().__init__(model, tokenizer, **options)

    def __call__(self, text_inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        """Continue texts, or answer chats.

        Args:
            text_inputs: A text, a chat (a list of messages), or a list, dataset or generator of
                these.
            options: Any argument of `generate`, and

                - `return_full_text` (True), `return_tensors`, `return_text`: whether outputs hold
                  prompt and continuation, all ids, or text.
                - `parse_harmony`: part replies into a message with `content`, `thinking` and
                  `tool_calls`; a string is the name to use in place of `thinking`. Otherwise the
                  content of an answer is all its text, without special tokens.
                - `reasoning_effort`, `model_identity`, `tools`, `builtin_tools`, `documents`: for
                  the chat template; further variables in `tokenizer_encode_kwargs`.
                - `continue_final_message`: go on inside the last message; None: if it is the
                  assistant's.
                - `skip_special_tokens` (True), `clean_up_tokenization_spaces` (no difference).
                - `prefix`, `add_special_tokens`, `truncation`, `padding`, `max_length`: for texts.
                - `stop_sequence`: strings that end the text and are part of it.
                - `handle_long_generation="hole"`: cut long prompts from the left.
                - `generate_kwargs`: further arguments of `generate`.
                - `batch_size`: how many prompts run side by side (256).

        Returns:
            For one input a list with a `{"generated_text": ...}` or `{"generated_token_ids": ...}`
            for each of `num_return_sequences`; for several a list of such lists. The text of a chat
            is the chat with the answer at its end.

        Raises:
            RequestError: an option that is unknown or cannot be met, or an input that is none.
            HarmonyError: the template refuses a chat.
        """
        refuse(options, TEXT_GENERATION.refused)
        options.pop("inputs", None)  # the base's own name, which here is no argument
        return super().__call__(text_inputs, **options)

    def is_one(self, inputs: Any) -> bool:  # noqa: ANN401
        """A text or a chat."""
        return isinstance(inputs, str) or _is_chat(inputs)

    def prepare(self, options: dict[str, Any]) -> Run:
        """See `Pipeline`."""
        chosen = TextGenerationOptions.of(options)

        def run(inputs: list[Any]) -> list[Any]:
            prompts = [self._read(one, chosen) for one in inputs]
            batches = [[prompt] for prompt in prompts] if chosen.runs_alone else [prompts]
            return [output for batch in batches for output in self._run(batch, chosen)]

        return run

    def _read(self, given: Any, options: TextGenerationOptions) -> _Prompt:  # noqa: ANN401
        if isinstance(given, str):
            arguments = {**options.text, **options.both}
            ids = self.tokenizer(options.prefix + given, **arguments)["input_ids"]
            continues = False
        elif _is_chat(given):
            continues = options.continues
            if continues is None:
                continues = given[-1].get("role") == "assistant"
            text = {k: v for k, v in options.text.items() if k != "add_special_tokens"}
            ids = self.tokenizer.apply_chat_template(
                given,
                add_generation_prompt=not continues,
                continue_final_message=continues,
                **{**text, **options.template, **options.both, "return_dict": False},
            )
        else:
            raise RequestError(
                f"{type(given).__name__} is neither a text nor a chat", field="text_inputs"
            )
        if options.fits_context:
            ids = self._cut(ids, options)
        if not ids:
            return _Prompt(given, [self._first_id()], 0, continues)
        return _Prompt(given, ids, len(ids), continues)

    def _cut(self, ids: list[int], options: TextGenerationOptions) -> list[int]:
        """The end of a prompt, leaving room for the output."""
        settings = self._settings(options)
        new = settings["max_new_tokens"]
        if new is None:
            new = settings["max_length"] - len(ids)
        context = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        if new < 0 or new >= context:
            raise RequestError(
                f"{new} new tokens do not fit the context of {context}",
                field="handle_long_generation",
            )
        return ids[-(context - new) :]

    def _settings(self, options: TextGenerationOptions) -> dict[str, Any]:
        """The two length limits, of which one is set."""
        given = {name: options.generation.get(name) for name in _LENGTHS}
        if any(value is not None for value in given.values()):
            return given
        config = options.generation.get("generation_config") or self.generation_config
        found = {name: getattr(config, name, None) for name in _LENGTHS}
        none = all(value is None for value in found.values())
        return found | ({"max_new_tokens": _NEW_TOKENS} if none else {})

    def _first_id(self) -> int:
        """What stands in for an empty prompt."""
        first = self.generation_config.bos_token_id
        first = self.tokenizer.bos_token_id if first is None else first
        if first is None:
            raise RequestError("is empty, and there is no bos_token to begin with", field="inputs")
        return int(first)

    def _run(self, prompts: list[_Prompt], options: TextGenerationOptions) -> list[Any]:
        arguments = dict(options.generation)
        config = arguments.pop("generation_config", None)
        if config is None:
            config = self.generation_config
        else:
            arguments |= {k: v for k, v in self._settings(options).items() if v is not None}
        stops = _listed(arguments.get("stop_strings") or getattr(config, "stop_strings", None))
        ends = set(_listed(arguments.get("eos_token_id", getattr(config, "eos_token_id", None))))
        if stops:
            arguments["tokenizer"] = self.tokenizer
        rows = self.model.generate(
            input_ids=[prompt.ids for prompt in prompts], generation_config=config, **arguments
        ).tolist()
        width, times = max(len(prompt.ids) for prompt in prompts), len(rows) // len(prompts)
        outputs: list[Any] = []
        for place, prompt in enumerate(prompts):
            new = [row[width:] for row in rows[place * times : (place + 1) * times]]
            length = max(self._own_length(ids, ends, stops) for ids in new)
            outputs.append([self._record(prompt, ids[:length], options) for ids in new])
        return outputs

    def _own_length(self, ids: list[int], ends: set[int], stops: Sequence[str]) -> int:
        """How many of a row's new tokens are its own, and not padding up to the longest row."""
        length = next((place + 1 for place, one in enumerate(ids) if one in ends), len(ids))
        if not stops or length == 0:
            return length
        pad = ids[length - 1]
        while length and ids[length - 1] == pad:
            length -= 1
        before = self.tokenizer.decode(ids[:length])
        # An end token is the row's own, unless a stop string has ended the row before it.
        return length if any(stop in before for stop in stops) else min(length + 1, len(ids))

    def _record(
        self, prompt: _Prompt, new: list[int], options: TextGenerationOptions
    ) -> dict[str, Any]:
        if options.returns == "tensors":
            return {"generated_token_ids": prompt.ids + new}
        if options.reasoning_name is not None:
            return {"generated_text": self._message(prompt, new, options)}
        ids = new if prompt.length else prompt.ids + new
        text = self.tokenizer.decode(ids, skip_special_tokens=options.skip_special_tokens)
        if options.returns == "new_text":
            return {"generated_text": text}
        if isinstance(prompt.given, str):
            return {"generated_text": prompt.given + text}
        messages = list(prompt.given)
        if prompt.continues:
            last = messages.pop()
            begun = last.get("content") or ""
            return {"generated_text": [*messages, {"role": last["role"], "content": begun + text}]}
        return {"generated_text": [*messages, {"role": "assistant", "content": text}]}

    def _message(self, prompt: _Prompt, new: list[int], options: TextGenerationOptions) -> Any:  # noqa: ANN401
        reply = Reply.of(self.tokenizer.tokenizer, prompt.ids, new)
        message = reply.to_message(options.reasoning_name or "thinking")
        if options.returns == "new_text" or isinstance(prompt.given, str):
            return message
        messages = list(prompt.given)
        if prompt.continues:
            message = {**messages.pop(), **message}
        return [*messages, message]


def _listed(value: Any) -> list[Any]:  # noqa: ANN401
    """None, one or several, as several."""
    return [] if value is None else [value] if isinstance(value, int | str) else list(value)


def _is_chat(inputs: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(inputs, list | tuple)
        and bool(inputs)
        and all(isinstance(one, Mapping) and "role" in one for one in inputs)
    )
