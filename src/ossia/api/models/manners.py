"""ModelManners: what code that handles models in general asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ossia.api.models.config import GptOssConfig
from ossia.api.models.resize import new_vocab_size, resized_rows
from ossia.errors import ConfigError, RequestError

_CHECKPOINT_ARGUMENTS = frozenset(
    {"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"}
)


class ModelManners(nn.Module):
    """Devices, counts, embeddings and gradient checkpointing, with transformers' names.

    Attributes:
        config: Shape and settings; changing the shape does not change the model.
    """

    base_model_prefix: ClassVar[str] = "model"
    main_input_name: ClassVar[str] = "input_ids"
    supports_gradient_checkpointing: ClassVar[bool] = True
    config: GptOssConfig
    _recompute: Mapping[str, Any] | None = None
    _grad_hook: RemovableHandle | None = None

    @property
    def base_model(self) -> ModelManners:
        """The decoder; the model itself where it has no head."""
        return getattr(self, self.base_model_prefix, self)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point parameter."""
        return next(param.dtype for param in self.parameters() if param.is_floating_point())

    @property
    def name_or_path(self) -> str:
        """What the model was loaded from."""
        return self.config.name_or_path

    def can_generate(self) -> bool:
        """Whether the model has a language-model head."""
        return False

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Weights; a byte of packed experts holds two, scales are none.

        Args:
            only_trainable: Leave out those that get no gradient.
            exclude_embeddings: Leave out the input embedding.
        """
        embedding = self.get_input_embeddings().weight
        return sum(
            _weights(name, param)
            for name, param in self.named_parameters()
            if (param.requires_grad or not only_trainable)
            and not (exclude_embeddings and param is embedding)
        )

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes of all parameters; there are no buffers."""
        del return_buffers
        return sum(param.nbytes for param in self.parameters())

    def get_decoder(self) -> ModelManners:
        """As `base_model`."""
        return self.base_model

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding."""
        embedding = self.base_model.embed_tokens
        assert isinstance(embedding, nn.Embedding)
        return embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Put another embedding in its place."""
        self.base_model.embed_tokens = value

    def get_output_embeddings(self) -> nn.Linear | None:
        """The unembedding; None where there is none."""
        head = getattr(self, "lm_head", None)
        return head if isinstance(head, nn.Linear) else None

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Put another unembedding in its place."""
        self.lm_head = value

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Change the vocabulary's size; rows beyond the old one are new.

        Args:
            new_num_tokens: Rows that are needed; None keeps the number.
            pad_to_multiple_of: Round up to a multiple of this.
            mean_resizing: New rows are the mean of the old ones; else they are drawn as in a new
                model.

        Returns:
            The embedding.

        Raises:
            RequestError: sizes that are no positive integers, or that would cut off a token id
                that the config names.
        """
        old = self.get_input_embeddings()
        size = new_vocab_size(old.weight.shape[0], new_num_tokens, pad_to_multiple_of)
        if size == old.weight.shape[0]:
            return old
        _check_vocab_size(self.config, size)
        std = None if mean_resizing else self.config.initializer_range
        embedding = nn.Embedding(0, 0, padding_idx=None)
        embedding.num_embeddings, embedding.embedding_dim = size, old.embedding_dim
        embedding.padding_idx = old.padding_idx
        embedding.weight = _parameter(old.weight, size, std)
        self.set_input_embeddings(embedding.train(old.training))
        if (head := self.get_output_embeddings()) is not None:
            head.weight = _parameter(head.weight, size, std)
            head.out_features = size
        self.config.vocab_size = size
        return embedding

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are computed again for their gradients."""
        return self.base_model._recompute is not None

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Keep only the layers' inputs in training, and compute the rest again for the gradient.

        Args:
            gradient_checkpointing_kwargs: Arguments of `torch.utils.checkpoint.checkpoint`;
                `use_reentrant` is False unless given.

        Raises:
            RequestError: an argument that it has not.
        """
        arguments = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}
        if unknown := sorted(arguments.keys() - _CHECKPOINT_ARGUMENTS):
            raise RequestError(
                f"{unknown[0]} is not one of {', '.join(sorted(_CHECKPOINT_ARGUMENTS))}",
                field="gradient_checkpointing_kwargs",
            )
        self.base_model._recompute = arguments

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations again."""
        self.base_model._recompute = None

    def enable_input_require_grads(self) -> None:
        """Let the embedding's output have a gradient though no embedding is trained.

        Adapters on a frozen model need it under gradient checkpointing.
        """
        if self._grad_hook is None:
            self._grad_hook = self.get_input_embeddings().register_forward_hook(_require_grad)

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        if self._grad_hook is not None:
            self._grad_hook.remove()
            self._grad_hook = None

    def tie_weights(self) -> None:
        """Nothing: gpt-oss has no weights in common."""


def initialise_(model: nn.Module, std: float) -> None:
    """Fill a new model's parameters as transformers does: N(0, std), ones for norms, no biases."""
    with torch.no_grad():
        for name, param in model.named_parameters():
            if name.endswith("norm.weight"):
                nn.init.ones_(param)
            elif name.endswith("bias"):
                nn.init.zeros_(param)
            elif param.is_floating_point():
                nn.init.normal_(param, std=std)
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])


def _require_grad(module: nn.Module, arguments: object, output: torch.Tensor) -> None:
    del module, arguments
    output.requires_grad_(True)


def _weights(name: str, param: torch.Tensor) -> int:
    if name.endswith("_scales") and not param.is_floating_point():
        return 0
    return param.numel() * (1 if param.is_floating_point() else 2)


def _parameter(old: torch.Tensor, size: int, std: float | None) -> nn.Parameter:
    return nn.Parameter(resized_rows(old, size, std), requires_grad=old.requires_grad)


def _check_vocab_size(config: GptOssConfig, size: int) -> None:
    try:
        GptOssConfig.from_dict(config.to_dict(), vocab_size=size)
    except ConfigError as error:
        raise RequestError(str(error), field="new_num_tokens") from error
