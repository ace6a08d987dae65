"""The plain decoding loop: greedy, or by chance."""

from __future__ import annotations

import torch

from ossia.api.generation.call import Call
from ossia.api.generation.collected import Collected
from ossia.api.generation.module_steps import last_logits
from ossia.api.generation.outputs import GenerateDecoderOnlyOutput
from ossia.errors import RequestError


def sample(call: Call) -> GenerateDecoderOnlyOutput:
    """Add a token to every row at a time until all have ended.

    Rows that have ended are filled with the padding token. Without one (there is no end token,
    either) they go on until the others have ended.

    Raises:
        RequestError: nothing may follow in some row.
    """
    ids, steps, got = call.prompt.input_ids, call.steps, Collected(call.config)
    unfinished = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    output = steps.prefill(ids)
    while True:
        logits = last_logits(output)  # (rows, vocab)
        got.add_layers(output)
        del output  # a long prompt's outputs are large
        # Processors may write into what they get, so the model's own scores are kept apart.
        scores = call.processors(ids, logits.clone() if got.logits is not None else logits)
        got.add_scores(scores, logits)
        tokens = choose(scores, bool(call.config.do_sample))
        if call.ends.pad_id is not None:
            tokens = tokens.where(unfinished, call.ends.pad_id)
        ids = torch.cat((ids, tokens[:, None]), dim=1)
        if call.streamer is not None:
            call.streamer.put(tokens.cpu())
        unfinished &= ~call.criteria(ids, got.scores)
        if not bool(unfinished.any()):
            break
        call.peers.announce()
        steps.extend()
        output = steps.step(ids)
    call.peers.keep_company(call.model, ids)
    return GenerateDecoderOnlyOutput(
        sequences=ids,
        scores=got.scores,
        logits=got.logits,
        past_key_values=steps.cache,
        **got.layers(),
    )


def choose(scores: torch.Tensor, by_chance: bool) -> torch.Tensor:
    """int64 (rows,): the most likely token, or one drawn by torch's generator.

    Args:
        scores: (rows, vocab).
        by_chance: Draw.

    Raises:
        RequestError: a row has no finite score, or one that is no number.
    """
    if not by_chance:
        return scores.argmax(dim=-1)
    try:
        return torch.multinomial(scores.softmax(dim=-1), 1).squeeze(1)
    except RuntimeError as error:
        raise RequestError(
            "nothing may follow in some row: every score is -inf, or one is NaN",
            field="logits_processor",
        ) from error
