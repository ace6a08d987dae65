"""draw: a token of each row by chance, or the most likely one, fed back for the next step."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Draw, address

_THREADS, _MOST_SLICES = 256, 64  # of draw.cu
CHANCE_NUMBERS = 5
"""int32 numbers that a row's chance is."""


@dataclass(frozen=True, slots=True)
class Chance:
    """How a row's tokens are drawn, from all valid ids.

    Args:
        seed: As `engine.randomness.uniform` takes it, as is `continuation`.
        continuation: See seed.
        first: The position of the token behind which the first output was drawn.
        temperature: Above 0.
    """

    seed: int
    continuation: int
    first: int
    temperature: float

    def numbers(self) -> tuple[int, ...]:
        """As draw.cu declares it: CHANCE_NUMBERS of int32."""
        coldness = 1.0 / max(self.temperature, _LEAST_TEMPERATURE)
        packed = struct.pack("<QIif", self.seed, self.continuation, self.first, coldness)
        return struct.unpack(f"<{CHANCE_NUMBERS}i", packed)


NO_CHANCE = (0,) * CHANCE_NUMBERS
"""Of a row whose most likely token is taken."""
_LEAST_TEMPERATURE = 1e-30  # as kernels.sampling.reference.MIN_TEMPERATURE


def draw(
    logits: torch.Tensor,
    end: int,
    chances: torch.Tensor,
    ids: torch.Tensor,
    positions: torch.Tensor,
    out: torch.Tensor,
    scratch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """kernels.sampling.sample of rows that are drawn from all ids, or greedily.

    The number in [0, 1) that draws a row's token is `engine.randomness.uniform` of its seed, its continuation, and how
    far its position is behind `first`. It is hashed here, so that steps may follow each other without the host.

    Args:
        logits: float32 (tokens, vocab).
        end: Ids from here on are not looked at.
        chances: int32 (tokens, CHANCE_NUMBERS), `Chance.numbers` or NO_CHANCE.
        ids: As `argmax` takes it, like positions and out.
        positions: See ids.
        out: See ids; beside the id stand the bits of the row's largest logit.
        scratch: int64 (tokens, slices), float64 (tokens, slices), and int32 (tokens,) of zeros, zeros again
            afterwards. As many blocks as slices look at a row.
    """
    tokens, vocab = logits.shape
    best, weights, arrivals = scratch
    assert out.shape == (2, 2, tokens), out.shape
    assert chances.shape == (tokens, CHANCE_NUMBERS), chances.shape
    assert best.shape == weights.shape, (best.shape, weights.shape)
    assert best.shape[1] <= _MOST_SLICES, best.shape
    arguments = Draw(
        logits=address(logits), chances=address(chances), best=address(best), weights=address(weights),
        arrivals=address(arrivals), ids=address(ids), positions=address(positions), out=address(out),
        tokens=tokens, vocab=vocab, end=end,
    )  # fmt: skip
    grid = (best.shape[1], tokens, 1)
    launch(program("draw.cu", logits.device)["draw"], grid, _THREADS, 0, arguments)
