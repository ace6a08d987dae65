"""A small GptOssForCausalLM and its transformers twin, with equal weights and settings."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers

from ossia import GenerationConfig, GptOssForCausalLM
from support.models import lively_, small_config

EOS, PAD = (5, 6), 3
SPECIAL = {"eos_token_id": list(EOS), "pad_token_id": PAD}


def small_lm(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: object) -> Any:
    """Ours, with end tokens and a padding token."""
    model = GptOssForCausalLM(small_config(**({"num_hidden_layers": 2} | changes)))
    lively_(model, seed)
    model.generation_config = GenerationConfig(**SPECIAL)
    return model.to(dtype).eval()


def twin_of(model: Any) -> Any:
    """Transformers' implementation with the same weights and settings."""
    raw = model.config.to_dict()
    raw.pop("quantization_config", None)
    twin = transformers.GptOssForCausalLM(transformers.GptOssConfig(**raw)).eval()
    twin.load_state_dict(model.state_dict())
    twin.generation_config = transformers.GenerationConfig(**SPECIAL)
    return twin


@functools.cache
def shared_pair(seed: int = 0) -> tuple[Any, Any]:
    """Ours and the twin; not to be changed."""
    model = small_lm(seed)
    return model, twin_of(model)


def prompts(rows: int, length: int, seed: int = 0, vocab: int = 97) -> torch.Tensor:
    """int64 (rows, length) without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(7, vocab, (rows, length), generator=generator)


def left_padded(rows: list[list[int]], pad: int = PAD) -> dict[str, torch.Tensor]:
    """Rows of any lengths as ids and mask."""
    longest = max(map(len, rows))
    ids = [[pad] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def assert_same_outputs(
    ours: Any, theirs: Any, atol: float = 2e-4, skip: tuple[str, ...] = ()
) -> None:
    """Two outputs have the same fields, shapes and numbers; caches are compared by their length."""
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), (ours.tolist(), theirs.tolist())
        return
    assert type(ours).__name__ == type(theirs).__name__
    assert list(ours.keys()) == list(theirs.keys())
    for name in [name for name in theirs if name not in skip]:
        _assert_same(ours[name], theirs[name], name, atol)


def _assert_same(ours: Any, theirs: Any, name: str, atol: float) -> None:
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple), name
        assert len(ours) == len(theirs), name
        for one, other in zip(ours, theirs, strict=True):
            _assert_same(one, other, name, atol)
    elif isinstance(theirs, torch.Tensor):
        assert_same_tensors(ours, theirs, name, atol)
    else:
        assert ours.get_seq_length() == theirs.get_seq_length(), name


def assert_same_tensors(
    ours: torch.Tensor, theirs: torch.Tensor, name: str, atol: float = 2e-4
) -> None:
    """Equal shapes and dtypes, and numbers that are close."""
    if name == "attentions" and ours.shape[-1] > theirs.shape[-1]:
        # Transformers' cache forgets keys outside the window; ours gives them a weight of 0.
        forgotten = ours.shape[-1] - theirs.shape[-1]
        assert bool((ours[..., :forgotten] == 0).all()), name
        ours = ours[..., forgotten:]
    assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
    assert ours.dtype == theirs.dtype, name
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4, msg=lambda m: f"{name}: {m}")
