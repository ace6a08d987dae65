"""CheckpointSampling: what a checkpoint's generation_config.json says of sampling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ossia.api.model_source import ModelSource
from ossia.checkpoint.folder import find_side_file
from ossia.errors import CheckpointError
from ossia.tokenizer import special

_FILE = "generation_config.json"
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
            CheckpointError: the file is no JSON object, or its ids are none.
        """
        file = None if source.folder is None else find_side_file(source.folder, _FILE)
        raw: Any = {}
        if file is not None:
            try:
                raw = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CheckpointError(f"not JSON: {error}", file=file) from error
            if not isinstance(raw, dict):
                raise CheckpointError("not a JSON object", file=file)
        found = raw.get("eos_token_id", list(_END_TOKENS))
        ids = found if isinstance(found, list) else [found]
        if not all(type(token_id) is int for token_id in ids if token_id is not None):
            raise CheckpointError(f"eos_token_id is {found!r}, no id or list of ids", file=file)
        eos_ids = tuple(one for one in ids if one is not None and 0 <= one < vocab_size)
        defaults = {name: raw[name] for name in _FIELDS if raw.get(name) is not None}
        return cls(eos_ids, defaults)
