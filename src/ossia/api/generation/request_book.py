"""RequestBook: requests of continuous batching, and what the engine has given for them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from ossia.api.generation.choosing import eos_ids_of, named_ids_end
from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.continuous_config import (
    ContinuousBatchingConfig,
    GenerationOutput,
    RequestStatus,
)
from ossia.api.generation.field_rules import sampling_fields_set
from ossia.api.generation.on_engine import engine_sampling, unknown_to_engine
from ossia.api.generation.resolving import resolve
from ossia.engine.core import EngineCore
from ossia.errors import RequestError
from ossia.types import FinishReason, Request, TokenOutput

_CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that the engine will take.

    Args:
        request: For the engine.
        streaming: Deliver after each token.
        timed: Note when each token came.
        created: When it was made.
    """

    request: Request
    streaming: bool
    timed: bool
    created: float


class RequestBook:
    """An engine with the books about its requests. `prepare` may be called from any thread.

    Args:
        model: A GptOssForCausalLM.
        settings: Of requests that say nothing themselves.
        batching: Memory and work.
        max_context: Longest prompt and output; None is the model's.
        sequences: Continuations side by side.
    """

    def __init__(
        self,
        model: Any,
        settings: GenerationConfig,
        batching: ContinuousBatchingConfig,
        *,
        max_context: int | None,
        sequences: int,
    ) -> None:
        self._settings, self._batching = settings, batching
        config = batching.engine_config(
            model.lm_head.weight.device,
            max_context=max_context,
            sequences=sequences,
            named_end=named_ids_end(model.config.vocab_size),
        )
        self._core = EngineCore(model.as_engine_model(), config)
        self._outputs: dict[tuple[str, int], GenerationOutput] = {}
        self._prepared: dict[str, Prepared] = {}
        self._generator = torch.Generator()
        if batching.seed is not None:
            self._generator.manual_seed(batching.seed)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self._core.has_work

    def prepare(
        self,
        input_ids: list[int],
        request_id: str,
        *,
        streaming: bool = False,
        timed: bool = False,
        **settings: Any,
    ) -> Prepared:
        """Check a request.

        Args:
            input_ids: The prompt.
            request_id: Its name.
            streaming: Deliver after each token.
            timed: Note when each token came.
            settings: Of this request; None means unset.

        Raises:
            RequestError: the engine cannot serve it; names the argument.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        if sampling_fields_set(given):
            given.setdefault("do_sample", True)
        config, rest = resolve(None, self._settings, given)
        unknown = min(rest) if rest else unknown_to_engine(config)
        if unknown is not None:
            raise RequestError(
                "is not served by continuous batching; leave it out, or call generate()",
                field=unknown,
            )
        if config.stop_strings is not None or config.max_time is not None:
            name = "max_time" if config.stop_strings is None else "stop_strings"
            raise RequestError("look at the results and cancel_request() yourself", field=name)
        limit = config.max_new_tokens
        if limit is None and config.max_length is not None:
            limit = max(1, config.max_length - len(input_ids))
        sampling = engine_sampling(
            config,
            eos_ids_of(config),
            max_tokens=limit,
            min_tokens=config.min_new_tokens or 0,
            n=config.num_return_sequences or 1,
            seed=self._seed(),
            logprobs=0 if self._batching.return_logprobs else None,
        )
        request = Request(request_id=request_id, prompt_ids=tuple(input_ids), sampling=sampling)
        self._core.admission.output_limit(request)
        return Prepared(request, streaming, timed, time.perf_counter())

    def submit(self, prepared: Prepared) -> None:
        """Queue a request.

        Raises:
            RequestError: its name is in use.
        """
        request = prepared.request
        self._core.submit(request)
        self._prepared[request.request_id] = prepared
        for index in range(request.sampling.n):
            self._outputs[request.request_id, index] = GenerationOutput(
                request_id=name_of(request.request_id, index),
                prompt_ids=list(request.prompt_ids),
                created_time=prepared.created,
                timestamps=[] if prepared.timed else None,
            )

    def step(self) -> list[GenerationOutput]:
        """Run the engine once.

        Returns:
            Requests that have ended, and copies of streaming ones that have moved.
        """
        start = time.perf_counter()
        return self._delivered(self._core.step(), start)

    def is_live(self, request_id: str) -> bool:
        """Whether some continuation of a request has not ended."""
        return request_id in self._prepared

    def cancel(self, request_id: str) -> list[GenerationOutput]:
        """End a request.

        Returns:
            Its continuations that had not ended, as failed.
        """
        return self._delivered(self._core.abort(request_id), time.perf_counter())

    def cancel_all(self) -> list[GenerationOutput]:
        """End everything."""
        return [out for name in self._core.live_requests for out in self.cancel(name)]

    def _seed(self) -> int | None:
        if self._batching.seed is None:
            return None
        return int(torch.randint(0, 2**62, (), generator=self._generator))

    def _delivered(self, outputs: list[TokenOutput], start: float) -> list[GenerationOutput]:
        delivered: list[GenerationOutput] = []
        for output in outputs:
            one = self._outputs[output.request_id, output.index]
            prepared = self._prepared[output.request_id]
            self._note(one, output, start)
            if output.finish_reason is not None:
                self._close(one, output)
                delivered.append(one)
            elif prepared.streaming:
                tokens, logprobs = list(one.generated_tokens), list(one.logprobs)
                delivered.append(replace(one, generated_tokens=tokens, logprobs=logprobs))
        return delivered

    def _note(self, one: GenerationOutput, output: TokenOutput, start: float) -> None:
        if output.token_id is None:
            return
        if not one.generated_tokens:
            one.lifespan = (start, -1)
            one.status = RequestStatus.DECODING
        one.generated_tokens.append(output.token_id)
        if output.logprob is not None:
            one.logprobs.append(output.logprob.logprob)
        if one.timestamps is not None:
            one.timestamps.append(time.perf_counter())

    def _close(self, one: GenerationOutput, output: TokenOutput) -> None:
        one.lifespan = (one.lifespan[0], time.perf_counter())
        one.status = RequestStatus.FINISHED
        if output.finish_reason in (FinishReason.ERROR, FinishReason.ABORT):
            one.status = RequestStatus.FAILED
            one.error = output.error or _CANCELLED
        del self._outputs[output.request_id, output.index]
        if not any(name == output.request_id for name, _ in self._outputs):
            del self._prepared[output.request_id]


def name_of(request_id: str, index: int) -> str:
    """What a request's continuation is called."""
    return request_id if index == 0 else f"{request_id}__child#{index - 1}"
