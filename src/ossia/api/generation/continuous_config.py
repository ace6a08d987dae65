"""What continuous batching is told and gives back, under transformers' names."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

import torch

from ossia.engine.config import EngineConfig
from ossia.errors import RequestError
from ossia.machine import machine_memory

_WAY_ROUND = "leave it out: the engine does without"
_ACCEPTED: dict[str, tuple[object, ...]] = {  # transformers' switches -> values that change nothing
    "max_blocks_per_request": (None, 0),
    "use_async_batching": (None, False),
    "use_cuda_graph": (None, False),
    "q_padding_interval_size": (0,),
    "kv_padding_interval_size": (0,),
    "varlen_compile_config": (None,),
    "decode_compile_config": (None,),
    "default_compile_level": (0,),
    "safety_margin": (None,),
    "cpu_offload_space": (0.0, 0),
    "use_default_compile_configs": (None, False),
}


@dataclass(kw_only=True)
class ContinuousBatchingConfig:
    """Memory and work that continuous batching may take on.

    Fields that only tune transformers' own engine are accepted at their defaults and refused
    otherwise.

    Args:
        page_size: Tokens in a page of the KV cache.
        num_blocks: Pages of the KV cache; None derives them from memory.
        max_batch_tokens: Tokens that one forward pass computes at most.
        max_memory_percent: Share of the memory that is free for the KV cache, up to 1.
        max_requests_per_batch: Continuations that run side by side.
        allow_block_sharing: Whether prompts that start alike share what was computed once.
        scheduler_type: "fifo".
        return_logprobs: Fill `logprobs` of the outputs.
        seed: Makes all requests of a manager repeatable, in the order in which they are added.
        max_queue_size: Requests that may wait; 0 is no limit.
        per_request_processors: Accepted: requests may always have settings of their own.
        drop_unsupported_processors: Accepted: unsupported settings are always refused.
        auto_switch_to_flash: Accepted: attention is chosen by the engine.

    Raises:
        RequestError: a value is refused; names the field.
    """

    page_size: int = 16
    num_blocks: int | None = None
    max_batch_tokens: int | None = None
    max_memory_percent: float | None = None
    max_requests_per_batch: int | None = None
    allow_block_sharing: bool = True
    scheduler_type: str = "fifo"
    return_logprobs: bool = False
    seed: int | None = None
    max_queue_size: int = 0
    per_request_processors: bool = True
    drop_unsupported_processors: bool = True
    auto_switch_to_flash: bool = True
    disable_nccl_graph_mixing: bool = True
    cpu_group_timeout: float | None = 300.0
    cpu_offload_space_safety_threshold: float = 0.8
    max_blocks_per_request: Any = None
    use_async_batching: Any = None
    use_cuda_graph: Any = None
    q_padding_interval_size: Any = 0
    kv_padding_interval_size: Any = 0
    varlen_compile_config: Any = None
    decode_compile_config: Any = None
    default_compile_level: Any = 0
    safety_margin: Any = None
    cpu_offload_space: Any = 0.0
    use_default_compile_configs: Any = None

    def __post_init__(self) -> None:
        for name, values in _ACCEPTED.items():
            if getattr(self, name) not in values:
                raise RequestError(f"{getattr(self, name)!r} is refused; {_WAY_ROUND}", field=name)
        if self.scheduler_type != "fifo":
            raise RequestError(f"{self.scheduler_type!r} is not 'fifo'", field="scheduler_type")
        share = self.max_memory_percent
        if share is not None and not 0 < share <= 1:
            raise RequestError(f"{share!r} is not above 0 and up to 1", field="max_memory_percent")

    @classmethod
    def of(cls, given: Any) -> ContinuousBatchingConfig:
        """From what was given: None, a dict, one of these, or transformers' own.

        Raises:
            RequestError: it is something else, or holds what is refused.
        """
        if given is None or isinstance(given, cls):
            return given or cls()
        values = given if isinstance(given, dict) else getattr(given, "__dict__", None)
        if values is None:
            raise RequestError(
                f"{type(given).__name__} is no configuration", field="continuous_batching_config"
            )
        known = {one.name for one in fields(cls)}
        for name, value in values.items():
            if name not in known and value is not None:
                raise RequestError(f"no such field; {_WAY_ROUND}", field=name)
        return cls(**{name: value for name, value in values.items() if name in known})

    def engine_config(
        self,
        device: torch.device,
        *,
        max_context: int | None,
        sequences: int,
        named_end: int | None,
    ) -> EngineConfig:
        """The engine's limits.

        Args:
            device: Where the model is.
            max_context: Longest prompt and output; None is the model's.
            sequences: Continuations side by side, unless `max_requests_per_batch` says.
            named_end: Ids from here on are never drawn.
        """
        most = self.max_requests_per_batch or sequences
        return EngineConfig(
            page_size=self.page_size,
            num_pages=self.num_blocks,
            kv_cache_bytes=None if self.num_blocks is not None else self._cache_bytes(device),
            max_batch_tokens=max(self.max_batch_tokens, most) if self.max_batch_tokens else None,
            max_sequences=most,
            max_context=max_context,
            prefix_reuse=self.allow_block_sharing,
            valid_token_ids_end=named_end,
        )

    def _cache_bytes(self, device: torch.device) -> int | None:
        if self.max_memory_percent is None:
            return None
        if device.type == "cuda":
            return int(torch.cuda.mem_get_info(device)[0] * self.max_memory_percent)
        return int(machine_memory()[0].total_bytes * self.max_memory_percent)


class RequestStatus(IntEnum):
    """How far a request is."""

    PENDING = 0
    PREFILLING = 1
    DECODING = 2
    FINISHED = 3
    FAILED = 4


@dataclass
class GenerationOutput:
    """A request's outcome, or with streaming what there is so far.

    Args:
        request_id: As it was added; further continuations are called `ID__child#N`.
        prompt_ids: The prompt.
        generated_tokens: The output; the token that ended it is its last.
        logprobs: Of these tokens, where asked for.
        error: Why it failed; None if it did not.
        status: How far it is.
        created_time: `time.perf_counter()` when it was added.
        lifespan: The same when it started and when it ended; -1 before that.
        timestamps: The same for each token, where asked for.
    """

    request_id: str
    prompt_ids: list[int] = field(default_factory=list)
    generated_tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    error: str | None = None
    status: RequestStatus = RequestStatus.PENDING
    created_time: float = field(default_factory=time.perf_counter)
    lifespan: tuple[float, float] = (-1, -1)
    timestamps: list[float] | None = None

    def is_finished(self) -> bool:
        """Whether nothing more will come."""
        return self.status >= RequestStatus.FINISHED
