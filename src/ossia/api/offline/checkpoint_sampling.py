"""CheckpointSampling: what a checkpoint's generation_config.json says of sampling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ossia.api.generation.config import GenerationConfig
from ossia.api.model_source import ModelSource
from ossia.errors import ModelNotFoundError
from ossia.tokenizer import special

_FIELDS = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
_END_TOKENS = (special.RETURN, special.ENDOFTEXT, special.CALL)  # of the published checkpoints


@dataclass(frozen=True, slots=True)
class CheckpointSampling:
    """Where output ends, and how it is drawn unless the caller says otherwise.

    Args:
        eos_ids: Tokens that end it.
        defaults: Values of `SamplingParams`.
    """

    eos_ids: tuple[int, ...] = _END_TOKENS
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, source: ModelSource, vocab_size: int) -> CheckpointSampling:
        """Read a model's file; without one, what the published checkpoints say.

        Raises:
            OssiaError: the file is damaged.
        """
        try:
            config = GenerationConfig.from_pretrained(source.folder or source.name)
        except ModelNotFoundError:
            return cls(_within(_END_TOKENS, vocab_size))
        found = config.eos_token_id
        ids = [] if found is None else [found] if isinstance(found, int) else list(found)
        values = {name: getattr(config, name) for name in _FIELDS}
        defaults = {name: value for name, value in values.items() if value is not None}
        return cls(_within(ids, vocab_size), defaults)


def _within(ids: Iterable[int], vocab_size: int) -> tuple[int, ...]:
    return tuple(token_id for token_id in ids if 0 <= token_id < vocab_size)
