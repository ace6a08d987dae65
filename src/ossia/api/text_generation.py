"""generate_text: raw text in, text out, without harmony."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from ossia.api.stop import StopStrings
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import EngineClosedError
from ossia.tokenizer import IncrementalDetokenizer, Tokenizer, special
from ossia.types import FinishReason, Request, SamplingParams, TokenLogprob


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPiece:
    """What one token adds.

    Args:
        text: Text that is now certain; often none.
        token_id: The token; None for text that was held back until the end.
        logprob: Its log-probability, if asked for.
        finish_reason: With the last piece.
    """

    text: str
    token_id: int | None = None
    logprob: TokenLogprob | None = None
    finish_reason: FinishReason | None = None


def generate_text(
    engine: SyncEngine,
    tokenizer: Tokenizer,
    prompt_ids: Sequence[int],
    *,
    sampling: SamplingParams | None = None,
    stop: Sequence[str] = (),
) -> Iterator[TextPiece]:
    """Continue a text until `<|endoftext|>`, a stop string or the limit.

    Args:
        engine: Runs the model.
        tokenizer: Of the model.
        prompt_ids: The text as ids.
        sampling: How to draw.
        stop: Strings that end the text; they are cut off.

    Yields:
        A piece for each token; special tokens are written by name, the one that ends the text is
        not. The last piece says why it is the last.

    Raises:
        RequestError: the engine refuses the request.
        EngineClosedError: the engine failed.
    """
    sampling = sampling or SamplingParams()
    stop_ids = {*sampling.stop_token_ids, special.ENDOFTEXT}
    request = Request(
        request_id=f"text-{uuid.uuid4().hex}",
        prompt_ids=tuple(prompt_ids),
        sampling=replace(sampling, stop_token_ids=tuple(stop_ids)),
    )
    detokenizer = IncrementalDetokenizer(tokenizer, show_special=True)
    watch = StopStrings(stop)
    reason: FinishReason | None = None
    with closing(engine.stream(request)) as outputs:
        for output in outputs:
            reason, token_id = output.finish_reason, output.token_id
            if reason is FinishReason.ERROR:
                raise EngineClosedError(f"the engine failed: {output.error}")
            if token_id is None:
                break
            ends = reason is FinishReason.STOP
            text = "" if ends else watch.push(detokenizer.push(token_id))
            yield TextPiece(text=text, token_id=token_id, logprob=output.logprob)
            if watch.found is not None:
                reason = FinishReason.STOP
                break
    rest = watch.push(detokenizer.flush()) + watch.flush()
    yield TextPiece(text=rest, finish_reason=reason)
