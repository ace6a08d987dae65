"""TextGenerationOptions: what a call of the text-generation pipeline takes, sorted by its use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ossia.api.argument_table import refuse
from ossia.api.generation.arguments import check_arguments
from ossia.api.pipelines.arguments import TEXT_GENERATION
from ossia.errors import RequestError

ReturnType = Literal["tensors", "new_text", "full_text"]
_RETURN_TYPES: dict[object, ReturnType] = {0: "tensors", 1: "new_text", 2: "full_text"}
_TEMPLATE = ("tools", "documents", "reasoning_effort", "model_identity", "builtin_tools")
_TEXT = ("add_special_tokens", "truncation", "padding")
# With these, what a row gets depends on the rows beside it: each prompt runs alone.
_ALONE = (
    *("max_length", "min_length", "streamer", "assistant_model", "prompt_lookup_num_tokens"),
    *("prefix_allowed_tokens_fn", "logits_processor", "stopping_criteria", "max_time"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGenerationOptions:
    """Options of one call.

    Args:
        returns: What outputs hold.
        reasoning_name: Where replies are parted, the name of the reasoning in them; None leaves
            them as text.
        skip_special_tokens: Whether text leaves special tokens out.
        prefix: Put before text prompts.
        fits_context: Whether prompts are cut from the left to leave room for the output.
        continues: Whether a chat's last message is continued; None: if it is the assistant's.
        template: Variables of the chat template.
        text: Arguments of the tokenizer for text prompts.
        both: Arguments for either.
        generation: Arguments of `generate`.
    """

    returns: ReturnType = "full_text"
    reasoning_name: str | None = None
    skip_special_tokens: bool = True
    prefix: str = ""
    fits_context: bool = False
    continues: bool | None = None
    template: dict[str, Any] = field(default_factory=dict[str, Any])
    text: dict[str, Any] = field(default_factory=dict[str, Any])
    both: dict[str, Any] = field(default_factory=dict[str, Any])
    generation: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, options: dict[str, Any]) -> TextGenerationOptions:
        """Sort options; those that are nobody's own are for `generate`.

        Raises:
            RequestError: options that are unknown, contradict each other or are refused.
        """
        rest = {**options, **(options.get("generate_kwargs") or {})}
        rest.pop("generate_kwargs", None)
        refuse(rest, TEXT_GENERATION.refused)
        rest = {name: rest[name] for name in rest if name not in TEXT_GENERATION.refused}
        returns = _return_type(
            *(rest.pop(name, None) for name in ("return_type", "return_full_text")),
            *(rest.pop(name, None) for name in ("return_tensors", "return_text")),
        )
        hole = rest.pop("handle_long_generation", None)
        if hole not in (None, "hole"):
            raise RequestError(
                f"{hole!r} is neither None nor 'hole'", field="handle_long_generation"
            )
        rest.pop("clean_up_tokenization_spaces", None)  # byte-level text needs no mending
        if (stop := rest.pop("stop_sequence", None)) is not None:
            rest["stop_strings"] = [stop] if isinstance(stop, str) else list(stop)
        text = {name: rest.pop(name) for name in _TEXT if rest.get(name) is not None}
        if rest.get("max_length") is not None:
            text["max_length"] = rest["max_length"]
        skips = rest.pop("skip_special_tokens", None)
        template = {name: rest.pop(name) for name in _TEMPLATE if name in rest}
        continues = rest.pop("continue_final_message", None)
        parted, prefix = rest.pop("parse_harmony", None), rest.pop("prefix", None)
        both = dict(rest.pop("tokenizer_encode_kwargs", None) or {})
        generation = {name: value for name, value in rest.items() if name not in _TEXT}
        check_arguments(generation, others=TEXT_GENERATION.names)
        return cls(
            returns=returns,
            reasoning_name=_reasoning_name(parted),
            skip_special_tokens=True if skips is None else skips,
            prefix=prefix or "",
            fits_context=hole is not None,
            continues=continues,
            template=template,
            text=text,
            both=both,
            generation=generation,
        )

    @property
    def runs_alone(self) -> bool:
        """Whether each prompt runs by itself."""
        return any(self.generation.get(name) is not None for name in _ALONE)


def _return_type(
    return_type: object, full_text: bool | None, tensors: bool | None, text: bool | None
) -> ReturnType:
    if return_type is not None:
        found = _RETURN_TYPES.get(getattr(return_type, "value", return_type))
        if found is None:
            raise RequestError(f"{return_type!r} is none of 0, 1, 2", field="return_type")
        return found
    given = {"return_full_text": full_text, "return_tensors": tensors, "return_text": text}
    several = [name for name, value in given.items() if value is not None]
    if len(several) > 1:
        raise RequestError(f"it cannot go with {several[0]}", field=several[1])
    if tensors:
        return "tensors"
    return "new_text" if full_text is False else "full_text"


def _reasoning_name(value: object) -> str | None:
    if value is None or value is False:
        return None
    if value is True:
        return "thinking"
    if isinstance(value, str) and value:
        return value
    raise RequestError(f"{value!r} is neither a bool nor a name", field="parse_harmony")
