"""Beam search: the continuations with the best sum of log-probabilities, greedy or sampled.

Of the candidates for the next token over all beams of a prompt, the best that have not ended go on;
those that have ended compete, by their length-normalised score, for a place among the results. The
scores, the order of ties and the ends are those of transformers, which these formulas follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ossia.api.generation.call import Call
from ossia.api.generation.collected import Collected
from ossia.api.generation.module_steps import last_logits
from ossia.api.generation.outputs import GenerateBeamDecoderOnlyOutput
from ossia.errors import RequestError

_NEVER = -1e9  # the score of what must not be chosen


@dataclass(slots=True)
class _Beams:
    """Some continuations of each prompt.

    Args:
        ids: int64 (batch, beams, max_length), filled up behind what is there.
        scores: float32 (batch, beams).
        sources: int32 (batch, beams, max_new): row of the step's scores for each new token; -1.
        ended: bool (batch, beams).
    """

    ids: torch.Tensor
    scores: torch.Tensor
    sources: torch.Tensor
    ended: torch.Tensor

    def pick(self, places: torch.Tensor) -> _Beams:
        """Those at the places (batch, picked)."""
        wide = places[..., None]
        return _Beams(
            self.ids.take_along_dim(wide, 1),
            self.scores.take_along_dim(places, 1),
            self.sources.take_along_dim(wide, 1),
            self.ended.take_along_dim(places, 1),
        )

    def beside(self, other: _Beams) -> _Beams:
        """Both, the other's behind."""
        return _Beams(
            torch.cat((self.ids, other.ids), 1),
            torch.cat((self.scores, other.scores), 1),
            torch.cat((self.sources, other.sources), 1),
            torch.cat((self.ended, other.ended), 1),
        )


class BeamSearch:
    """One beam search.

    Args:
        call: Its prompt has num_beams equal rows for each prompt.
    """

    def __init__(self, call: Call) -> None:
        config, ids = call.config, call.prompt.input_ids
        assert config.num_beams is not None, "resolved"
        assert config.length_penalty is not None, "resolved"
        self._call = call
        self._beams = config.num_beams
        self._batch = len(ids) // self._beams
        self._start = self._length = ids.shape[1]
        self._max_length = call.ends.max_length
        self._penalty = config.length_penalty
        self._early = config.early_stopping
        # Enough candidates that num_beams of them go on, even if every end token is among the best.
        self._width = max(2, 1 + len(call.ends.eos_ids)) * self._beams
        self._running, self._results = self._first(ids)
        self._hopeful = torch.ones(self._batch, 1, dtype=torch.bool, device=ids.device)
        self._got = Collected(config)

    def run(self) -> GenerateBeamDecoderOnlyOutput:
        """Search to the end.

        Raises:
            RequestError: there are fewer tokens to choose from than are needed.
        """
        call, steps = self._call, self._call.steps
        output = steps.prefill(call.prompt.input_ids)
        while True:
            logits = last_logits(output).float()
            self._got.add_layers(output)
            del output
            candidates = self._candidates(self._scored(logits))
            self._advance(candidates)
            rows = self._running.sources[..., self._length - self._start].flatten().long()
            steps.reorder(rows)
            self._length += 1
            self._hopeful &= self._can_improve()
            if self._is_over(candidates):
                break
            call.peers.announce()
            steps.extend()
            output = steps.step(self._flat_ids(self._running))
        call.peers.keep_company(call.model, call.prompt.input_ids)
        return self._output()

    def _first(self, ids: torch.Tensor) -> tuple[_Beams, _Beams]:
        """Beams that hold the prompt, and results that hold nothing."""
        shape, new = (self._batch, self._beams), self._max_length - self._start
        filled = ids.new_full((*shape, self._max_length), self._call.ends.fill_id)
        filled[..., : self._start] = ids.view(*shape, -1)
        nothing = torch.full(shape, _NEVER, device=ids.device)
        # All beams of a prompt are equal at first, so only the first may have continuations.
        scores = nothing.clone()
        scores[:, 0] = 0
        sources = torch.full((*shape, new), -1, dtype=torch.int32, device=ids.device)
        ended = torch.zeros(shape, dtype=torch.bool, device=ids.device)
        return _Beams(filled, scores, sources, ended), _Beams(filled, nothing, sources, ended)

    def _flat_ids(self, beams: _Beams) -> torch.Tensor:
        return beams.ids[..., : self._length].flatten(0, 1)

    def _scored(self, logits: torch.Tensor) -> torch.Tensor:
        """(batch, beams * vocab): score of each beam with each next token."""
        scores = self._call.processors(self._flat_ids(self._running), logits.log_softmax(dim=-1))
        self._got.add_scores(scores, logits)
        total = scores.view(self._batch, self._beams, -1) + self._running.scores[..., None]
        return total.flatten(1)

    def _candidates(self, total: torch.Tensor) -> _Beams:
        """The best next tokens over all beams, or as many drawn ones, with their beams."""
        if total.shape[1] < self._width:
            raise RequestError(
                f"{self._width} candidates are needed and there are {total.shape[1]}; lower it",
                field="num_beams",
            )
        if self._call.config.do_sample:
            places = torch.multinomial(total.softmax(dim=-1), self._width)
            scores = total.gather(1, places)
        else:
            scores, places = total.topk(self._width)
        vocab = total.shape[1] // self._beams
        beams = places // vocab
        chosen = self._running.pick(beams)
        chosen.scores = scores
        chosen.ids[..., self._length] = places % vocab
        first_rows = torch.arange(self._batch, device=total.device)[:, None] * self._beams
        chosen.sources[..., self._length - self._start] = (beams + first_rows).int()
        ids = chosen.ids[..., : self._length + 1].flatten(0, 1)
        chosen.ended = self._call.criteria(ids, self._got.scores).view(self._batch, -1)
        return chosen

    def _advance(self, candidates: _Beams) -> None:
        """Candidates become beams that run on, or compete with the results."""
        open_scores = candidates.scores + candidates.ended.float() * _NEVER
        places = open_scores.topk(self._beams).indices
        self._running = candidates.pick(places)
        self._running.scores = open_scores.gather(1, places)
        # Only the best num_beams may end; those behind them are there to go on.
        is_best = torch.arange(self._width, device=places.device) < self._beams
        ended = candidates.ended & is_best
        scores = candidates.scores / (self._length + 1 - self._start) ** self._penalty
        scores = scores + (~ended).float() * _NEVER + (~self._hopeful).float() * _NEVER
        if self._early is True:
            scores = scores + self._results.ended.all(dim=1, keepdim=True).float() * _NEVER
        rivals = _Beams(candidates.ids, scores, candidates.sources, ended)
        everyone = self._results.beside(rivals)
        self._results = everyone.pick(everyone.scores.topk(self._beams).indices)

    def _can_improve(self) -> torch.Tensor:
        """Bool (batch, 1): whether a running beam may still beat the worst result."""
        length = self._length - self._start
        if self._early == "never" and self._penalty > 0:
            length = self._max_length - self._start  # the longest is the best that can be
        best = self._running.scores[:, :1] / length**self._penalty
        worst = self._results.scores.amin(dim=1, keepdim=True)
        return (best > worst.where(self._results.ended, _NEVER)).any(dim=1, keepdim=True)

    def _is_over(self, candidates: _Beams) -> bool:
        if not bool(self._hopeful.any()) or bool(candidates.ended.all()):
            return True
        return self._early is True and bool(self._results.ended.all())

    def _output(self) -> GenerateBeamDecoderOnlyOutput:
        """The best results, without the room that nobody used."""
        wanted = self._call.config.num_return_sequences
        best = self._results
        sources = best.sources[:, :wanted].flatten(0, 1)
        longest = int((sources >= 0).sum(dim=1).max())
        scores = best.scores[:, :wanted].flatten()
        return GenerateBeamDecoderOnlyOutput(
            sequences=best.ids[:, :wanted].flatten(0, 1)[:, : self._start + longest],
            sequences_scores=scores if self._got.scores is not None else None,
            scores=self._got.scores,
            logits=self._got.logits,
            beam_indices=sources[:, :longest],
            past_key_values=self._call.steps.cache,
            **self._got.layers(),
        )
