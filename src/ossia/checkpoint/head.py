"""Head: what a checkpoint holds on top of the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

HeadKind = Literal["causal_lm", "none", "sequence_classification", "token_classification"]

ARCHITECTURES: Mapping[HeadKind, str] = {
    "causal_lm": "GptOssForCausalLM",
    "none": "GptOssModel",
    "sequence_classification": "GptOssForSequenceClassification",
    "token_classification": "GptOssForTokenClassification",
}
_KINDS: Mapping[Any, HeadKind] = {name: kind for kind, name in ARCHITECTURES.items()}
_DEFAULT_LABELS = 2


@dataclass(frozen=True, slots=True)
class Head:
    """A head and its size.

    Args:
        kind: Which one.
        num_labels: Classes of a classifier; 0 for the others.
    """

    kind: HeadKind = "causal_lm"
    num_labels: int = 0

    @property
    def architecture(self) -> str:
        """What config.json calls a model with this head."""
        return ARCHITECTURES[self.kind]


LANGUAGE_MODEL = Head()


def head_of(raw_config: Mapping[str, Any]) -> Head:
    """The head that a config.json promises; a language model's if it does not say."""
    architectures = raw_config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    kind: HeadKind = _KINDS.get(name, "causal_lm") if isinstance(name, str) else "causal_lm"
    if not kind.endswith("classification"):
        return Head(kind)
    labels = raw_config.get("id2label")
    count = len(labels) if isinstance(labels, Mapping) else raw_config.get("num_labels")
    return Head(kind, count if type(count) is int and count > 0 else _DEFAULT_LABELS)
