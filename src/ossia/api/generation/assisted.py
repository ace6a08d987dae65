"""Assisted generation: the model checks several proposed tokens in one pass.

The ids are those of greedy decoding, or are distributed as those of sampling (Leviathan et al.
2023, arXiv:2211.17192, algorithm 1).
"""

from __future__ import annotations

from typing import Any

import torch

from ossia.api.generation.call import Call
from ossia.api.generation.candidates import Proposer
from ossia.api.generation.collected import Collected
from ossia.api.generation.module_steps import last_logits
from ossia.api.generation.outputs import GenerateDecoderOnlyOutput
from ossia.api.generation.sample import choose


def assisted(call: Call, proposer: Proposer) -> GenerateDecoderOnlyOutput:
    """Propose, check, keep what is right and one more token, until the row has ended.

    Args:
        call: Of one row.
        proposer: Where proposals come from.

    Raises:
        RequestError: nothing may follow.
    """
    ids, steps, got = call.prompt.input_ids, call.steps, Collected(call.config)
    padding = int((call.prompt.attention_mask == 0).sum()) if ids.shape[1] else 0
    is_first, is_over = True, False
    while not is_over:
        length = ids.shape[1]
        proposed, drawn_by = proposer.propose(ids[:, padding:], call.ends.max_length - length - 1)
        num = proposed.shape[1]
        longer = torch.cat((ids, proposed), dim=1)
        call.peers.announce()
        if is_first:
            steps.extend(num)
            output = steps.prefill(longer, num + 1)
        else:
            steps.extend(1 + num)
            output = steps.step(longer, 1 + num, 1 + num)
        logits = last_logits(output, num + 1).view(num + 1, -1)
        scores = _processed(call, longer, logits, length)
        accepted = _accepted(proposed[0], scores, drawn_by, bool(call.config.do_sample))
        ids, kept, is_over = _append(call, ids, accepted, got, scores, logits)
        proposer.learn(num, min(kept, len(accepted) - 1))
        # The last kept token is not computed yet; what was computed behind it is taken back.
        steps.crop(num + 1 - kept)
        _add_layers(got, output, kept, num, length if is_first else None)
        if call.streamer is not None:
            call.streamer.put(ids[:, length:].cpu())
        is_first = False
    call.peers.keep_company(call.model, ids)
    return GenerateDecoderOnlyOutput(
        sequences=ids,
        scores=got.scores,
        logits=got.logits,
        past_key_values=steps.cache,
        **got.layers(),
    )


def _processed(call: Call, longer: torch.Tensor, logits: torch.Tensor, length: int) -> torch.Tensor:
    """(proposed + 1, vocab): scores of the token behind the text and behind each proposed one."""
    rows = [
        call.processors(longer[:, : length + place], logits[place : place + 1].clone())
        for place in range(len(logits))
    ]
    return torch.cat(rows)


def _accepted(
    proposed: torch.Tensor,
    scores: torch.Tensor,
    drawn_by: torch.Tensor | None,
    by_chance: bool,
) -> torch.Tensor:
    """int64 (accepted + 1,): the proposals that stand, and one token of the model's own."""
    if by_chance and drawn_by is not None:
        return speculative_sample(proposed, scores.softmax(dim=-1), drawn_by.softmax(dim=-1))
    # Proposals that were not drawn stand as long as the model draws the same.
    own = choose(scores, by_chance)
    differs = (own[:-1] != proposed).nonzero()
    return own[: (int(differs[0]) if len(differs) else len(proposed)) + 1]


def speculative_sample(
    proposed: torch.Tensor, target: torch.Tensor, draft: torch.Tensor
) -> torch.Tensor:
    """Accept proposals so that all tokens are distributed as the target says.

    A token x is accepted with probability min(1, target(x) / draft(x)). The first that is not is
    replaced by one drawn from max(0, target - draft), normalised; if all are, one more is drawn.

    Args:
        proposed: int64 (proposed,), drawn from `draft`.
        target: (proposed + 1, vocab), probabilities.
        draft: (proposed, vocab), probabilities.

    Returns:
        int64 (accepted + 1,).
    """
    at = proposed[:, None]
    ratio = (target[:-1].gather(1, at) / draft.gather(1, at)).squeeze(1)
    rejected = (torch.rand_like(ratio) >= ratio).nonzero()
    if not len(rejected):
        return torch.cat((proposed, torch.multinomial(target[-1], 1)))
    first = int(rejected[0])
    rest = (target[first] - draft[first]).clamp(min=0)
    if not bool(rest.sum() > 0):  # equal up to rounding
        rest = target[first]
    return torch.cat((proposed[:first], torch.multinomial(rest, 1)))


def _append(
    call: Call,
    ids: torch.Tensor,
    accepted: torch.Tensor,
    got: Collected,
    scores: torch.Tensor,
    logits: torch.Tensor,
) -> tuple[torch.Tensor, int, bool]:
    """The text with the accepted tokens up to the one that ends it; how many; whether it ended."""
    for kept, token in enumerate(accepted, start=1):
        ids = torch.cat((ids, token.view(1, 1)), dim=1)
        got.add_scores(scores[kept - 1 : kept], logits[kept - 1 : kept])
        if bool(call.criteria(ids, got.scores).all()):
            return ids, kept, True
    return ids, len(accepted), False


def _add_layers(got: Collected, output: Any, kept: int, num: int, prompt: int | None) -> None:
    """Split a pass's per-layer outputs into the steps that one token at a time would have had.

    Args:
        got: Where they go.
        output: Of the pass, over some columns of one row.
        kept: Tokens that were kept.
        num: Tokens that were proposed.
        prompt: Columns of the prompt, if the pass has computed it.
    """
    for name, layers in got.layers().items():
        if layers is None:
            continue
        steps: list[tuple[torch.Tensor, ...]] = []
        for place in range(kept):
            whole = place == 0 and prompt is not None
            steps.append(
                tuple(_cut(one, name, num - place, whole) for one in getattr(output, name))
            )
        got.put_layers(name, tuple(steps))


def _cut(layer: torch.Tensor, name: str, behind: int, whole: bool) -> torch.Tensor:
    """What one token's pass would have given.

    Args:
        layer: (1, heads, queries, keys), (1, queries, hidden) or (queries, experts).
        name: Which of them.
        behind: Columns computed behind the token.
        whole: The pass begins with the prompt and the token is its last one.
    """
    queries = {"attentions": 2, "hidden_states": 1, "router_logits": 0}[name]
    end = layer.shape[queries] - behind
    start = 0 if whole else end - 1
    cut = layer.narrow(queries, start, end - start)
    return cut[..., : cut.shape[-1] - behind] if name == "attentions" else cut
