"""FastDecode: carries out plans that only decode, by the model's CUDA graphs."""

from __future__ import annotations

import torch

from ossia.cache.layout import KVLayout
from ossia.cache.pool import KVPool
from ossia.engine.plan import Drawn, PlanEntry, StepPlan, StepResult
from ossia.engine.sampler import Sampler, unusable
from ossia.kernels.decode import MAX_TOKENS
from ossia.model.decode_step import DecodeStep
from ossia.model.heads import CausalLM


class FastDecode:
    """One new token for each of a few sequences, without a kernel launch from Python.

    Args:
        model: Whose steps these are.
        layout: Groups of layers.
        pool: The pages.
        max_context: Longest sequence.
        valid_end: Ids from here on are never drawn.
    """

    def __init__(
        self, model: CausalLM, layout: KVLayout, pool: KVPool, max_context: int, valid_end: int
    ) -> None:
        pages = list(zip(pool.k_pages, pool.v_pages, strict=True))
        self._step = DecodeStep(model, pages, layout.groups, max_context, valid_end)
        self._valid_end = valid_end

    @staticmethod
    def takes(plan: StepPlan) -> bool:
        """Whether every entry is one token that draws one."""
        return 0 < len(plan.entries) <= MAX_TOKENS and all(map(_decodes, plan.entries))

    def execute(self, plan: StepPlan, sampler: Sampler) -> StepResult:
        """Compute and draw.

        Args:
            plan: `takes` allows it; page copies are done.
            sampler: Draws where the most likely token is not all that is asked for.
        """
        sequences = [entry.sequence for entry in plan.entries]
        done = self._step.run(
            [sequence.token_ids[sequence.num_computed] for sequence in sequences],
            [sequence.num_computed for sequence in sequences],
            [sequence.pages.tables for sequence in sequences if sequence.pages is not None],
        )
        draws = plan.draws
        if sampler.takes_argmax(draws):
            drawn = _most_likely(done.drawn.cpu())
        else:
            logits = done.logits.clone()
            logits[:, self._valid_end :] = -torch.inf
            drawn = sampler.sample(logits, draws)
        return StepResult(drawn, [[] for _ in plan.entries])


def _decodes(entry: PlanEntry) -> bool:
    return (
        entry.num_tokens == 1 and len(entry.draws) == 1 and not entry.sequence.wants_prompt_logprobs
    )


def _most_likely(drawn: torch.Tensor) -> list[Drawn]:
    """Ids and the bits of their logits, as the graph left them, (2, rows)."""
    peaks = drawn[1].view(torch.float32).tolist()
    return [
        Drawn(None, error=reason) if (reason := unusable(peak)) else Drawn(token_id)
        for token_id, peak in zip(drawn[0].tolist(), peaks, strict=True)
    ]
