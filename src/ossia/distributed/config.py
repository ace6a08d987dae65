"""DistributedConfig: the words in which guides ask for a model to be spread over GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ossia.errors import ConfigError

_SIZES = ("tp_size", "ep_size", "pp_size", "fsdp_size", "dp_replicate_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributedConfig:
    """How a model is to be spread; transformers' names.

    One process holds the whole model, whatever is said here; see `from_pretrained`.

    Args:
        tp_size: Processes that share each matrix.
        tp_plan: "auto", or a way to cut for each module.
        enable_sequence_parallel: Share activations along the sequence too.
        enable_expert_parallel: Give each process a part of the experts; 1 counts as True.
        ep_size: Processes that share the experts.
        ep_plan: A way to share for each module.
        ep_implementation: How tokens travel to their experts.
        pp_size: Processes that share the layers.
        fsdp_size: Processes that share the weights in training.
        fsdp_plan: A way to share for each module.
        fsdp_cpu_offload: Keep shares in CPU memory.
        fsdp_mixed_precision: Compute in 16 bits.
        dp_replicate_size: Copies of the model.

    Raises:
        ConfigError: a size that is no positive integer.
    """

    tp_size: int | None = None
    tp_plan: Mapping[str, str] | str | None = None
    enable_sequence_parallel: bool = False
    enable_expert_parallel: bool | int = False
    ep_size: int | None = None
    ep_plan: Mapping[str, str] | None = None
    ep_implementation: str = "auto"
    pp_size: int | None = None
    fsdp_size: int | None = None
    fsdp_plan: Mapping[str, str] | None = None
    fsdp_cpu_offload: bool = False
    fsdp_mixed_precision: bool = False
    dp_replicate_size: int | None = None

    def __post_init__(self) -> None:
        for name in _SIZES:
            size = getattr(self, name)
            if size is not None and (type(size) is not int or size < 1):
                raise ConfigError(f"{name} is {size!r}; expected a positive integer")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a mapping of the names above.

        Raises:
            ConfigError: an unknown name.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"{unknown[0]} is no setting of DistributedConfig")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
