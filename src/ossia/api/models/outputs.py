"""ModelOutput: what a forward pass gives, by attribute, by key or by place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import torch

from ossia.api.models.cache import DynamicCache

Tensors = tuple[torch.Tensor, ...]


@dataclass(eq=False, repr=False)
class ModelOutput(dict[str, Any]):
    """A dict of the fields that are not None; attributes are there for all of them.

    Indices and slices count the fields that are there: `output[0]`, `output[:2]`.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                super().__setitem__(field.name, value)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if value is not None:
            super().__setitem__(name, value)
        else:
            self.pop(name, None)

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401
        setattr(self, key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self))

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are not None, in order of the fields."""
        return tuple(super(ModelOutput, self).__getitem__(name) for name in self)

    def as_asked(self, return_dict: bool) -> Self:
        """Itself, or the tuple that a caller of old wants instead."""
        return self if return_dict else self.to_tuple()  # type: ignore[return-value]


def _rebuild(kind: type[ModelOutput], values: dict[str, Any]) -> ModelOutput:
    return kind(**values)


@dataclass(eq=False, repr=False)
class DecoderOutput(ModelOutput):
    """Of GptOssModel.

    Attributes:
        last_hidden_state: (batch, seq, hidden) after the final norm; zeros at padding.
        past_key_values: The cache, where one is used.
        hidden_states: (batch, seq, hidden) before each layer, then `last_hidden_state`.
        attentions: For each layer (batch, heads, seq, keys); rows sum to less than 1, as the
            sink's share is left out.
        router_logits: For each layer (batch * seq, experts); zeros at padding.
    """

    last_hidden_state: torch.Tensor | None = None
    past_key_values: DynamicCache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    router_logits: Tensors | None = None


@dataclass(eq=False, repr=False)
class CausalLMOutput(ModelOutput):
    """Of GptOssForCausalLM; what is not said here is as in DecoderOutput.

    Attributes:
        loss: Scalar, where labels were given; contains the weighted `aux_loss`, if there is one.
        aux_loss: Scalar: how unevenly the experts are used, where router logits were asked for.
        logits: (batch, seq, vocab) of the model's dtype; zeros where the input is padding.
    """

    loss: torch.Tensor | None = None
    aux_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: DynamicCache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    router_logits: Tensors | None = None


@dataclass(eq=False, repr=False)
class SequenceClassifierOutput(ModelOutput):
    """Of GptOssForSequenceClassification; what is not said here is as in DecoderOutput.

    Attributes:
        loss: Scalar, where labels were given.
        logits: (batch, num_labels).
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: DynamicCache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(eq=False, repr=False)
class TokenClassifierOutput(ModelOutput):
    """Of GptOssForTokenClassification; what is not said here is as in DecoderOutput.

    Attributes:
        loss: Scalar, where labels were given.
        logits: (batch, seq, num_labels).
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
