"""EngineConfig: how much memory and work the engine may take on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ossia.errors import ConfigError

KVDtype = Literal["auto", "float16", "bfloat16", "float32", "float64", "int8", "fp8"]
CpuActivations = Literal["full", "int8"]
CpuWeights = Literal["bf16", "int8", "auto"]
Fp8Weights = Literal["none", "unembedding", "unembedding,attention"]
_CHOICES = {
    "kv_dtype": get_args(KVDtype),
    "cpu_activations": get_args(CpuActivations),
    "cpu_weights": get_args(CpuWeights),
    "fp8_weights": get_args(Fp8Weights),
}
_FEW, _MANY = 64, 512  # sequences side by side
_ALONE = 2048  # tokens of a prompt in a pass of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """What one forward pass may hold.

    Args:
        max_batch_tokens: Tokens of all sequences.
        prefill_chunk: Prompt tokens of one sequence.
        max_sequences: Continuations that run side by side.
    """

    max_batch_tokens: int
    prefill_chunk: int
    max_sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Limits and switches of one engine.

    Args:
        page_size: Tokens in a page of the KV cache; even with `kv_dtype` "fp8".
        num_pages: Pages of the KV cache; None derives them from `kv_cache_bytes`.
        kv_cache_bytes: Size of the KV cache; None takes a share of the device's memory.
        memory_share: Of a CUDA device's memory, for weights, the KV cache and everything else there; None is
            0.9 of what is free once the weights are there. Where the size of the KV cache is given it plays no part.
        kv_dtype: How keys and values are stored; "auto" is the model's dtype. "int8" rounds each head's
            to 8 bits with a scale of its own, on the CPU, which takes about half the memory and
            changes the logits a little. "fp8" rounds those of full attention layers to floats of 8
            bits (e4m3), on CUDA, which takes half the memory and reading for each token of a long
            context; sliding layers, which read their window only, keep the model's dtype, and half as
            many tokens in a page.
        max_batch_tokens: Tokens that one forward pass computes at most; None is what suits the
            device, see `step_limits`.
        max_sequences: Continuations that run side by side; further ones wait. None likewise: 512 on CUDA
            where the KV cache has room for them, 64 elsewhere and where `deterministic`.
        prefill_chunk: Prompt tokens of one sequence in one forward pass at most; None likewise.
        max_context: Prompt and output tokens of a request at most; None is the model's limit.
        prefix_reuse: Whether prompts that start alike share what was computed once.
        valid_token_ids_end: Ids from here on are never produced, because the tokenizer has no
            token for these rows of the vocabulary; None allows every row.
        cuda_graphs: Whether steps that only decode run as one CUDA graph where the model and the
            device allow it. Its packed experts are then relaid in place, once.
        cpu_activations: What enters the products of packed experts, and of matrices in 8 bits, on
            the CPU: "full" keeps the model's dtype; "int8" rounds to 8 bits with a scale for each 32
            values, which is faster for prompts and batches, and changes the logits a little.
        cpu_weights: What the matrices around attention and the unembedding are on the CPU: "bf16"
            leaves them as they are; "int8" rounds them, in place and once, to 8 bits with a scale for
            each 32 weights, which is faster for single tokens, takes half the memory, and changes the
            logits a little; "auto" does so where the machine's memory is short otherwise.
        fp8_weights: Which matrices are rounded to 8-bit floats (e4m3) with a scale for each row, on CUDA, in
            place and once: the "unembedding", also the projections around attention
            ("unembedding,attention"), or "none". Takes half their memory and half of what a step reads of
            them, and changes the logits a little.
        fp8_prefill: Whether passes of 4,096 tokens and more round what enters the products of attention's
            projections and of the experts to 8-bit floats (e4m3), on Hopper GPUs. Long prompts take less
            arithmetic, their logits and all behind them change a little, and a second copy of these matrices
            takes memory: 20 GB for gpt-oss-20b.
        deterministic: Whether the output of a greedy or seeded request is the same, bit for bit,
            whatever runs beside it and whenever it arrives, at the same settings on the same device.
            Costs speed: `engine/deterministic.py` says what is done otherwise.

    Raises:
        ConfigError: a value is out of range or two contradict each other.
    """

    page_size: int = 16
    num_pages: int | None = None
    kv_cache_bytes: int | None = None
    memory_share: float | None = None
    kv_dtype: KVDtype = "auto"
    max_batch_tokens: int | None = None
    max_sequences: int | None = None
    prefill_chunk: int | None = None
    max_context: int | None = None
    prefix_reuse: bool = True
    valid_token_ids_end: int | None = None
    cuda_graphs: bool = True
    cpu_activations: CpuActivations = "full"
    cpu_weights: CpuWeights = "bf16"
    fp8_weights: Fp8Weights = "none"
    fp8_prefill: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, optional in _INTEGER_FIELDS.items():
            value = getattr(self, name)
            if not (optional and value is None) and not (type(value) is int and value > 0):
                raise ConfigError(f"{name} is {value!r}; it must be a positive integer")
        if self.num_pages is not None and self.kv_cache_bytes is not None:
            raise ConfigError("num_pages and kv_cache_bytes are both set; keep one")
        share = self.memory_share
        if share is not None and not (isinstance(share, int | float) and 0 < share <= 1):
            raise ConfigError(f"memory_share is {share!r}; it must be above 0 and at most 1")
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"{name} is {value!r}; known: {', '.join(known)}")
        if self.kv_dtype == "fp8" and self.page_size % 2:
            raise ConfigError(
                f"page_size={self.page_size} is odd; with kv_dtype='fp8' a page of sliding layers "
                "holds half as many tokens"
            )
        if self.fp8_prefill and self.deterministic:
            raise ConfigError(
                "fp8_prefill and deterministic are both set, but which tokens are rounded depends on what "
                "else is in their pass; keep one"
            )
        if (self.max_batch_tokens or 2**62) < (self.max_sequences or 0):
            raise ConfigError(
                f"max_batch_tokens={self.max_batch_tokens} is below max_sequences="
                f"{self.max_sequences}; every running sequence needs a token in each pass"
            )

    def step_limits(self, device_type: str, room: int | None = None) -> StepLimits:
        """What a forward pass takes on "cpu", "cuda" and the like.

        A processor is as fast with 512 tokens of a prompt as with more, and those who wait for their
        next token wait less; a GPU needs thousands to be busy, and has them soon. In the same way a
        GPU makes tokens for hundreds of sequences in little more time than for a few. A deterministic
        engine takes prompts one at a time, while everybody else waits, and shares whole chunks only; each
        of its steps is as large as there may be sequences, so that nothing may depend on the room.

        Args:
            device_type: As torch calls it.
            room: Sequences of usual length that the KV cache holds; None if that is no matter.
        """
        large = device_type == "cuda"
        chunk, batch, sequences = (8192, 8192, _MANY) if large else (512, 2048, _FEW)
        if self.deterministic:
            chunk = self.prefill_chunk or min(chunk, _ALONE)
            chunk, sequences = min(chunk, self.max_batch_tokens or chunk), _FEW
        if room is not None:
            sequences = min(sequences, max(room, _FEW))
        sequences = self.max_sequences or min(sequences, self.max_batch_tokens or sequences)
        if self.deterministic:
            return StepLimits(
                max_batch_tokens=max(chunk, sequences), prefill_chunk=chunk, max_sequences=sequences
            )
        return StepLimits(
            max_batch_tokens=self.max_batch_tokens or max(batch, sequences),
            prefill_chunk=self.prefill_chunk or chunk,
            max_sequences=sequences,
        )


_INTEGER_FIELDS = {  # name -> whether None is allowed
    "page_size": False,
    "num_pages": True,
    "kv_cache_bytes": True,
    "max_batch_tokens": True,
    "max_sequences": True,
    "prefill_chunk": True,
    "max_context": True,
    "valid_token_ids_end": True,
}
