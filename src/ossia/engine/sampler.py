"""Sampler: rows of logits to one token for each continuation, as each one's parameters say."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch

from ossia.engine.alike import sample_alike, token_logprobs_alike
from ossia.engine.masks import AllowedSet, Guess, Masks, failure
from ossia.engine.plan import Drawn
from ossia.engine.randomness import uniform
from ossia.engine.sequence import Sequence
from ossia.kernels.sampling import Drawing, allow_only, penalise, sample, token_logprobs
from ossia.kernels.uploads import send, upload
from ossia.types import SamplingParams, TokenLogprob

_MAX_KEPT_SETS = 64  # of 25 kB
_AGAIN = 1 << 62  # behind every number of an output, for another draw of one
_FEW = 16  # ids up to this share of the vocabulary are ruled out one by one, which is much faster


@dataclass(slots=True)
class _Seen:
    """Tokens that a penalised continuation has seen: bool and float (vocab,)."""

    in_prompt: torch.Tensor
    output_counts: torch.Tensor


class Sampler:
    """Draws tokens; keeps what the penalties need between steps.

    Args:
        device: Where logits are.
        rows: Rows that are looked at side by side, so that none's result depends on the others; see
            `engine/alike.py`. None is as many as there are.
    """

    def __init__(self, device: torch.device, rows: int | None = None) -> None:
        self._device = device
        self._rows = rows
        self._seen: dict[Sequence, _Seen] = {}
        self._masks = Masks()
        self._few: dict[bytes, torch.Tensor | None] = {}

    def sample(
        self, logits: torch.Tensor, sequences: list[Sequence], *, again: bool = False
    ) -> list[Drawn]:
        """One token for each continuation.

        Args:
            logits: (rows, vocab) of float32 or wider, as the model gave them; overwritten.
            sequences: The continuation of each row.
            again: Whether `refused` has named what was drawn before; another number decides then, if it was
                for the token that was drawn.
        """
        failed: dict[int, str] = {}
        adjusted = self._adjust(logits, sequences, failed)
        drawings = [
            # What was refused whatever it was leaves the number as good as new.
            _drawing(sequence, again=again and not _is_truncated(sequence))
            for sequence in sequences
        ]
        token_ids, peaks = self._draw(adjusted, drawings)
        ids: list[int] = token_ids.tolist()
        for row, peak in enumerate(peaks.tolist()):
            if (reason := unusable(peak)) is not None:
                failed.setdefault(row, reason)
        self._note(sequences, ids, failed)
        logprobs = self._logprobs(logits, token_ids, sequences)
        return [
            Drawn(None, error=failed[row])
            if row in failed
            else Drawn(token_id, logprob=logprobs.get(row))
            for row, token_id in enumerate(ids)
        ]

    @staticmethod
    def takes_argmax(sequences: list[Sequence]) -> bool:
        """Whether these continuations need nothing but the most likely token."""
        return all(
            _is_plain(one) and _is_greedy(one) and one.request.sampling.logprobs is None
            for one in sequences
        )

    def is_drawn_by_steps(self, sequences: list[Sequence]) -> bool:
        """Whether a step on a GPU can draw all of these by itself: greedily, or by chance from all or the likely tokens.

        Where rows must have the same bits beside others, not log-probabilities, whose sums `sample` rounds in another
        way. Nor by chance under a mask: what it refuses is drawn with another number, where `sample` asks it first.
        """
        if not all(_is_plain(one, but_for_masks=True) for one in sequences):
            return False
        return self._rows is None or all(
            one.request.sampling.logprobs is None
            and (_is_greedy(one) or one.request.make_mask is None)
            for one in sequences
        )

    def trusts(self, sequences: list[Sequence]) -> bool:
        """Whether steps may draw these before their masks are asked, which `refused` does afterwards."""
        return all(self._masks.trusts(one, exactly=_is_truncated(one)) for one in sequences)

    def asked(self, sequence: Sequence) -> bytes | None:
        """The set of ids that a step has to draw from, asked of the mask; None for all of them."""
        return self._masks.asked(sequence)

    def expected(self, sequence: Sequence) -> bytes | None:
        """The set of ids that a step should draw from; None for all of them.

        Only where it has to be the mask's, since of these the likely ones alone may come: what is drawn from all of
        them otherwise is right wherever the mask allows it, also when the mask comes to another place.
        """
        return self._masks.expected(sequence) if _is_truncated(sequence) else None

    def refused(
        self, sequences: list[Sequence], drawn: list[Drawn], sets: list[bytes | None]
    ) -> list[int]:
        """Rows whose masks do not allow what a step has drawn, for `sample` to draw again; masks get the others.

        A token that is kept where the mask allows it, and drawn anew from what it allows where it does not, comes
        as often as one that is drawn from what it allows (rejection sampling). Where only likely tokens may come, this
        does not hold, and the mask has to name the set that was drawn from.

        Args:
            sequences: The continuation of each row.
            drawn: What the step says; a row whose mask fails on its token has an error afterwards.
            sets: What the step drew from, None for all ids.
        """
        refused: list[int] = []
        for row, (sequence, one) in enumerate(zip(sequences, drawn, strict=True)):
            if one.token_id is None:
                continue
            guess = Guess(one.token_id, sets[row], _is_truncated(sequence))
            if self._masks.refuses(sequence, guess):
                refused.append(row)
            elif (reason := self._masks.accept(sequence, one.token_id)) is not None:
                drawn[row] = Drawn(None, error=reason)
        return refused

    def warm_up(self, vocab: int) -> None:
        """Compile and load what draws, for logits of so many ids."""
        any_token = Drawing(temperature=1.0, uniform=0.0)
        self._draw(torch.zeros(1, vocab, device=self._device), [any_token])

    def release(self, sequence: Sequence) -> None:
        """Forget a continuation that has ended."""
        self._seen.pop(sequence, None)
        self._masks.release(sequence)

    def _draw(
        self, logits: torch.Tensor, drawings: list[Drawing | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._rows is None:
            return sample(logits, drawings)
        return sample_alike(logits, drawings, self._rows)

    def _logprobs(
        self, logits: torch.Tensor, token_ids: torch.Tensor, sequences: list[Sequence]
    ) -> dict[int, TokenLogprob]:
        """Row to log-probabilities, for the rows that ask for them."""
        wanted = {
            row: sequence.request.sampling.logprobs
            for row, sequence in enumerate(sequences)
            if sequence.request.sampling.logprobs is not None
        }
        if not wanted:
            return {}
        rows = list(wanted)
        num_top = min(max(num for num in wanted.values() if num is not None), logits.shape[1])
        chosen = token_ids[rows]
        if self._rows is None:
            scored = token_logprobs(logits[rows], chosen, num_top)
        else:
            scored = token_logprobs_alike(logits[rows], chosen, num_top, self._rows)
        return {
            row: TokenLogprob(one.token_id, one.logprob, one.top[: wanted[row]])
            for row, one in zip(rows, _as_logprobs(chosen.tolist(), *scored), strict=True)
        }

    def _adjust(
        self, logits: torch.Tensor, sequences: list[Sequence], failed: dict[int, str]
    ) -> torch.Tensor:
        """Penalties, bias and masks."""
        if all(_is_plain(sequence) for sequence in sequences):
            return logits
        if any(sequence.request.sampling.logprobs is not None for sequence in sequences):
            logits = logits.clone()  # log-probabilities are of what the model gave
        adjusted = self._penalise(logits, sequences)
        for row, sequence in enumerate(sequences):
            sampling = sequence.request.sampling
            if sampling.logit_bias:
                values = list(sampling.logit_bias.values())
                adjusted[row].index_add_(
                    0,
                    upload(list(sampling.logit_bias), self._device),
                    upload(values, self._device, logits.dtype),
                )
            if sampling.stop_token_ids and sequence.num_outputs < sampling.min_tokens:
                stops = upload(list(sampling.stop_token_ids), self._device)
                adjusted[row].index_fill_(0, stops, -torch.inf)
        self._mask(adjusted, sequences, failed)
        return adjusted

    def _penalise(self, logits: torch.Tensor, sequences: list[Sequence]) -> torch.Tensor:
        rows = [row for row, seq in enumerate(sequences) if _has_penalty(seq.request.sampling)]
        if not rows:
            return logits
        vocab = logits.shape[1]
        seen = [self._seen_by(sequences[row], vocab) for row in rows]
        sampling = [sequences[row].request.sampling for row in rows]

        def each(values: list[float]) -> torch.Tensor:
            return upload(values, self._device, logits.dtype)

        index = upload(rows, self._device)
        penalised = penalise(
            logits.index_select(0, index),
            torch.stack([one.in_prompt for one in seen]),
            torch.stack([one.output_counts for one in seen]).to(logits.dtype),
            each([params.repetition_penalty for params in sampling]),
            each([params.presence_penalty for params in sampling]),
            each([params.frequency_penalty for params in sampling]),
        )
        return logits.index_copy_(0, index, penalised)

    def _seen_by(self, sequence: Sequence, vocab: int) -> _Seen:
        seen = self._seen.get(sequence)
        if seen is None:
            in_prompt = torch.zeros(vocab, dtype=torch.bool, device=self._device)
            in_prompt[upload(sequence.request.prompt_ids, self._device)] = True
            seen = _Seen(in_prompt, torch.zeros(vocab, device=self._device))
            self._seen[sequence] = seen
        return seen

    def _mask(
        self, logits: torch.Tensor, sequences: list[Sequence], failed: dict[int, str]
    ) -> None:
        """Rule out, in place, what the continuations' masks do not allow."""
        rows: list[int] = []
        sets: list[AllowedSet] = []
        for row, sequence in enumerate(sequences):
            if sequence.request.make_mask is None:
                continue
            try:
                allowed = self._masks.allowed(sequence)
            except Exception as error:  # whatever the caller's mask raises ends this one only
                failed[row] = failure(error)
                continue
            few = self._few_forbidden(allowed, logits.shape[1])
            if few is not None:
                logits[row].index_fill_(0, few, -torch.inf)
            elif allowed is not None:
                rows.append(row)
                sets.append(allowed)
        if rows:
            allow_only(logits, rows, self._bits(sets, logits.shape[1]))

    def _bits(self, sets: list[AllowedSet], vocab: int) -> torch.Tensor:
        """uint8 (sets, ceil(vocab / 8))."""
        size = -(-vocab // 8)
        joined = bytearray().join(bytes(allowed[:size]).ljust(size, b"\0") for allowed in sets)
        return send(torch.frombuffer(joined, dtype=torch.uint8).view(len(sets), size), self._device)

    def _few_forbidden(self, allowed: AllowedSet | None, vocab: int) -> torch.Tensor | None:
        """The ids that a set rules out, if they are few and the set is one that comes again."""
        if not isinstance(allowed, bytes):
            return None
        if allowed not in self._few:
            if len(self._few) >= _MAX_KEPT_SETS:
                del self._few[next(iter(self._few))]
            bits = int.from_bytes(allowed, "little") & ((1 << vocab) - 1)
            few: torch.Tensor | None = None
            if vocab - bits.bit_count() <= vocab // _FEW:
                kept = torch.zeros(1, vocab, device=self._device)
                allow_only(kept, [0], self._bits([allowed], vocab))
                few = (kept[0] < 0).nonzero().squeeze(1)
            self._few[allowed] = few
        return self._few[allowed]

    def _note(self, sequences: list[Sequence], ids: list[int], failed: dict[int, str]) -> None:
        """Tell penalties and masks what was drawn."""
        for row, (sequence, token_id) in enumerate(zip(sequences, ids, strict=True)):
            if row in failed:
                continue
            if (seen := self._seen.get(sequence)) is not None:
                seen.output_counts[token_id] += 1
            if (reason := self._masks.accept(sequence, token_id)) is not None:
                failed[row] = reason


def unusable(peak: float) -> str | None:
    """Why no token can be drawn from logits of which this is the largest; None if one can."""
    if peak == -torch.inf:
        return "no token is allowed to come next"
    return None if abs(peak) < torch.inf else "the model produced logits that are not finite"


def drawn_with_peaks(token_ids: list[int], peaks: list[float]) -> list[Drawn]:
    """Tokens that were drawn elsewhere.

    Args:
        token_ids: One a row.
        peaks: The rows' largest logits.
    """
    if all(map(isfinite, peaks)):
        return [Drawn(token_id) for token_id in token_ids]
    reasons = map(unusable, peaks)
    return [
        Drawn(token_id) if reason is None else Drawn(None, error=reason)
        for token_id, reason in zip(token_ids, reasons, strict=True)
    ]


def score_prompt(logits: torch.Tensor, token_ids: list[int], num_top: int) -> list[TokenLogprob]:
    """Log-probabilities of prompt tokens.

    Args:
        logits: (rows, vocab) of the tokens before each.
        token_ids: The prompt tokens, one for each row.
        num_top: How many of the most likely ones to report beside each.
    """
    targets = torch.tensor(token_ids, device=logits.device)
    num_top = min(num_top, logits.shape[1])
    return _as_logprobs(token_ids, *token_logprobs(logits, targets, num_top))


def _as_logprobs(
    token_ids: list[int], chosen: torch.Tensor, top: torch.Tensor, top_ids: torch.Tensor
) -> list[TokenLogprob]:
    rows = zip(token_ids, chosen.tolist(), top.tolist(), top_ids.tolist(), strict=True)
    return [
        TokenLogprob(token_id, logprob, tuple(zip(best_ids, best, strict=True)))
        for token_id, logprob, best, best_ids in rows
    ]


def _drawing(sequence: Sequence, *, again: bool) -> Drawing | None:
    sampling = sequence.request.sampling
    if sampling.temperature == 0:
        return None
    return Drawing(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        uniform=uniform(sequence.seed, sequence.index, sequence.num_outputs + again * _AGAIN),
    )


def _has_penalty(sampling: SamplingParams) -> bool:
    return (
        sampling.repetition_penalty != 1
        or sampling.presence_penalty != 0
        or sampling.frequency_penalty != 0
    )


def _is_truncated(sequence: Sequence) -> bool:
    """Whether it is drawn by chance, and not all tokens may come."""
    sampling = sequence.request.sampling
    return not _is_greedy(sequence) and (
        sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0
    )


def _is_greedy(sequence: Sequence) -> bool:
    return sequence.request.sampling.temperature == 0


def _is_plain(sequence: Sequence, *, but_for_masks: bool = False) -> bool:
    """Whether the logits are used as they are."""
    sampling = sequence.request.sampling
    return not (
        _has_penalty(sampling)
        or sampling.logit_bias
        or sequence.num_outputs < sampling.min_tokens
        or (sequence.request.make_mask is not None and not but_for_masks)
    )
