"""Processors that add to, or rule out, the token that would complete a sequence of ids."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch

from ossia.api.generation.logits_processors import LogitsProcessor, TokenIds, id_tensor
from ossia.errors import RequestError

_Biases = dict[tuple[int, ...], float]


class SequenceBiasLogitsProcessor(LogitsProcessor):
    """Adds to the score of a token where the text ends with what comes before it in a sequence.

    Args:
        sequence_bias: Sequence of ids -> bias, or a list of [ids, bias] pairs.
    """

    def __init__(self, sequence_bias: Mapping[tuple[int, ...], float] | list[Any]) -> None:
        self.sequence_bias = _biases(sequence_bias)
        self._tables: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says.

        Raises:
            RequestError: an id is not in the vocabulary.
        """
        if self._tables is None:
            self._tables = self._make_tables(scores)
        bias = torch.zeros_like(scores)
        for starts, ends, values in self._tables:
            length = starts.shape[1]
            if length > input_ids.shape[1]:
                continue
            tail = input_ids[:, input_ids.shape[1] - length :]  # (rows, length)
            fits = (tail[:, None] == starts).all(dim=-1)  # (rows, sequences)
            bias.index_add_(1, ends, values.where(fits, 0.0).to(bias.dtype))
        return scores + bias

    def _make_tables(
        self, scores: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """For each length of beginnings: those (sequences, length), last ids, biases."""
        groups: dict[int, _Biases] = {}
        for ids, value in self.sequence_bias.items():
            if max(ids) >= scores.shape[-1]:
                raise RequestError(
                    f"{max(ids)} is not in the vocabulary of {scores.shape[-1]}",
                    field="sequence_bias",
                )
            groups.setdefault(len(ids) - 1, {})[ids] = value
        device = scores.device
        return [
            (
                torch.tensor([ids[:-1] for ids in group], device=device).long(),
                torch.tensor([ids[-1] for ids in group], device=device),
                torch.tensor(list(group.values()), dtype=torch.float32, device=device),
            )
            for group in groups.values()
        ]


class NoBadWordsLogitsProcessor(SequenceBiasLogitsProcessor):
    """Rules sequences of ids out.

    Args:
        bad_words_ids: The sequences.
        eos_token_id: End tokens; a sequence of nothing but one of them is let through.
    """

    def __init__(
        self, bad_words_ids: list[list[int]], eos_token_id: TokenIds | None = None
    ) -> None:
        if not isinstance(bad_words_ids, list) or not bad_words_ids:
            raise RequestError(f"{bad_words_ids!r} is no list of lists", field="bad_words_ids")
        if not all(isinstance(ids, list | tuple) and _are_ids(ids) for ids in bad_words_ids):
            raise RequestError(f"{bad_words_ids!r} holds no lists of ids", field="bad_words_ids")
        ends = (
            [] if eos_token_id is None else id_tensor("eos_token_id", eos_token_id, "cpu").tolist()
        )
        kept = [tuple(ids) for ids in bad_words_ids if not (len(ids) == 1 and ids[0] in ends)]
        self.bad_word_ids = bad_words_ids
        self.sequence_bias = dict.fromkeys(kept, -torch.inf)
        self._tables = None


def _biases(given: Mapping[tuple[int, ...], float] | list[Any]) -> _Biases:
    try:
        pairs = given.items() if isinstance(given, Mapping) else [tuple(pair) for pair in given]
        biases = {tuple(ids): bias for ids, bias in pairs}
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"{given!r} is no dict of id tuples to numbers", field="sequence_bias"
        ) from error
    if not biases:
        raise RequestError("is empty; leave it out", field="sequence_bias")
    for ids, bias in biases.items():
        if not _are_ids(ids) or not isinstance(bias, Real):
            raise RequestError(f"{ids}: {bias!r} is no bias of token ids", field="sequence_bias")
    return biases


def _are_ids(ids: list[int] | tuple[int, ...]) -> bool:
    return len(ids) > 0 and all(isinstance(one, Integral) and one >= 0 for one in ids)
