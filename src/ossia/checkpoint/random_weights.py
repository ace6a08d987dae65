"""Random weights of a model's shape: to measure speed and memory without a download.

The numbers come from a counter that is hashed (SplitMix64, Steele et al. 2014), in integer
arithmetic only, so that a seed gives the same bytes on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist

import torch

from ossia.checkpoint.spec import TensorKind, TensorSpec, tensor_specs
from ossia.config import PRESETS, ModelConfig
from ossia.errors import ConfigError

PREFIX = "random:"

_STD = 0.02  # the initializer_range of every released config
# Powers of two on top of that. Large embeddings and small contributions to the residual stream
# keep the tokens apart; otherwise their shared part grows with depth until all choose the same
# few experts.
_GAIN_BITS = {
    "embed_tokens.weight": 6,
    "self_attn.o_proj.weight": -3,
    "experts.down_proj": -3,
    "experts.down_proj_scales": -3,
}
# Two scales, 2**-8 and 2**-7: with random codes (root mean square 2.93) the weights' root mean
# square is then 0.018, near that of the floats.
_LOW_SCALE = 119
_CHUNK_WORDS = {"cpu": 1 << 17, "cuda": 1 << 24}  # in cache on the one, many threads on the other
_WORD_BYTES = 8
_NORMALS = 1 << 16


def parse_random_name(name: str) -> ModelConfig:
    """The shape that `random:20b`, `random:120b` or `random:tiny` stands for.

    Raises:
        ConfigError: no such preset.
    """
    preset = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or preset not in PRESETS:
        known = ", ".join(f"{PREFIX}{known}" for known in PRESETS)
        raise ConfigError(f"{name!r} is no random model; known: {known}")
    return PRESETS[preset]()


def random_tensors(
    config: ModelConfig,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights for every tensor of a model, one at a time.

    Norm scales are 1, other floats N(0, 0.02); packed experts are random codes under scales that
    give them that size. Embeddings are 64 times as large and what is added to the residual stream
    is an eighth, so that activations stay finite and routing reaches all experts in every layer.

    Args:
        config: The model's shape and expert format.
        seed: Another seed gives other weights.
        dtype: Of the floats.
        device: Where to make them; the values do not depend on it.

    Yields:
        Canonical name and tensor; a tensor depends on seed, name and shape only.
    """
    device = torch.device(device)
    normals = torch.tensor(_normal_table(), dtype=torch.float32, device=device).to(dtype)
    for name, spec in tensor_specs(config).items():
        yield name, _random_tensor(spec, seed, normals)


def _random_tensor(spec: TensorSpec, seed: int, normals: torch.Tensor) -> torch.Tensor:
    if spec.kind is TensorKind.NORM:
        return normals.new_ones(spec.shape)
    digest = hashlib.blake2b(f"{seed}:{spec.name}".encode(), digest_size=_WORD_BYTES).digest()
    key = int.from_bytes(digest, "little", signed=True)
    gain_bits = next((bits for end, bits in _GAIN_BITS.items() if spec.name.endswith(end)), 0)
    if "U8" not in spec.dtypes:
        return _pick(spec.shape, key, normals * 2.0**gain_bits)
    values = _random_bytes(spec.shape, key, normals.device)
    return values.bitwise_and_(1).add_(_LOW_SCALE + gain_bits) if spec.is_scales else values


def _random_bytes(shape: tuple[int, ...], key: int, device: torch.device) -> torch.Tensor:
    values = torch.empty(shape, dtype=torch.uint8, device=device)
    flat = values.view(-1)
    for begin, words in _random_words(key, -(-flat.numel() // _WORD_BYTES), device):
        random_bytes = words.view(torch.uint8)
        piece = flat[begin * _WORD_BYTES : begin * _WORD_BYTES + random_bytes.numel()]
        piece.copy_(random_bytes[: piece.numel()])
    return values


def _pick(shape: tuple[int, ...], key: int, normals: torch.Tensor) -> torch.Tensor:
    """Entries of `normals` (65,536,), 16 random bits for each."""
    values = normals.new_empty(shape)
    flat = values.view(-1)
    per_word = _WORD_BYTES // 2
    for begin, words in _random_words(key, -(-flat.numel() // per_word), normals.device):
        picks = words.view(torch.int16).int().bitwise_and_(_NORMALS - 1)
        piece = flat[begin * per_word : begin * per_word + picks.numel()]
        piece.copy_(normals.index_select(0, picks[: piece.numel()]))
    return values


@lru_cache(maxsize=1)
def _normal_table() -> tuple[float, ...]:
    """The middle of each of 65,536 equally likely slices of N(0, 0.02)."""
    normal = NormalDist(0.0, _STD)
    half = [normal.inv_cdf((idx + 0.5) / _NORMALS) for idx in range(_NORMALS // 2)]
    return (*half, *(-value for value in reversed(half)))


def _random_words(key: int, count: int, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
    """Chunks of `count` random int64 words, each with its first word's number."""
    step = _CHUNK_WORDS.get(device.type, _CHUNK_WORDS["cpu"])
    counter = torch.arange(min(step, count), dtype=torch.int64, device=device)
    counter.mul_(_signed(0x9E3779B97F4A7C15)).add_(key)
    for begin in range(0, count, step):
        words = counter[: min(step, count - begin)].add(_signed(begin * 0x9E3779B97F4A7C15))
        yield begin, _mix(words)


def _mix(words: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser, in place."""
    scratch = torch.empty_like(words)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        torch.bitwise_right_shift(words, shift, out=scratch)
        # The shift copies the sign; the finaliser wants zeros.
        words.bitwise_xor_(scratch.bitwise_and_((1 << (64 - shift)) - 1))
        if factor is not None:
            words.mul_(_signed(factor))
    return words


def _signed(value: int) -> int:
    """A 64-bit pattern as the signed number that torch takes."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
