"""generate_batch: many prompts of any lengths on one engine, and managers for streams of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.continuous_config import ContinuousBatchingConfig, GenerationOutput
from ossia.api.generation.manager import ContinuousBatchingManager
from ossia.api.generation.request_book import RequestBook, name_of
from ossia.api.generation.resolving import as_config, resolve
from ossia.errors import RequestError

_MOST_SIDE_BY_SIDE = 64


class BatchGenerationMixin:
    """Continuous batching of a model, under transformers' names."""

    def generate_batch(
        self,
        inputs: list[list[int]],
        generation_config: Any = None,
        continuous_batching_config: Any = None,
        record_timestamps: bool = False,
        progress_bar: bool = False,
        persistent_manager: bool = False,
        warmup: bool = True,
        **kwargs: Any,
    ) -> dict[str, GenerationOutput]:
        """Continue many prompts; as many side by side as fit.

        Args:
            inputs: Lists of ids.
            generation_config: Settings.
            continuous_batching_config: Memory and work.
            record_timestamps: Fill `timestamps` of the outputs.
            progress_bar: Show how many are done.
            persistent_manager: Refused: use `init_continuous_batching` for one that stays.
            warmup: Accepted: there is nothing to warm up.
            kwargs: Settings that go before `generation_config`'s.

        Returns:
            `req_0`, `req_1`, ... in the order of the inputs, each followed by its further
            continuations `req_0__child#0`, ... A prompt that fails says so in its output.

        Raises:
            RequestError: an argument or a prompt is refused; names it.
        """
        if persistent_manager:
            raise RequestError(
                "keep a manager from init_continuous_batching()", field="persistent_manager"
            )
        prompts = [_ids(one) for one in inputs]
        if not prompts:
            return {}
        settings = _settings(self, generation_config, kwargs)
        copies = settings.num_return_sequences or 1
        book = RequestBook(
            self,
            settings,
            ContinuousBatchingConfig.of(continuous_batching_config),
            max_context=_longest(prompts, settings),
            sequences=max(copies, min(len(prompts) * copies, _MOST_SIDE_BY_SIDE)),
        )
        prepared = [
            book.prepare(ids, f"req_{number}", timed=record_timestamps)
            for number, ids in enumerate(prompts)
        ]
        for one in prepared:
            book.submit(one)
        done: dict[str, GenerationOutput] = {}
        with _progress(progress_bar, len(prompts) * copies) as advance:
            while book.has_work:
                for output in book.step():
                    done[output.request_id] = output
                    advance()
        names = [name_of(f"req_{n}", idx) for n in range(len(prompts)) for idx in range(copies)]
        return {name: done[name] for name in names}

    def init_continuous_batching(
        self,
        generation_config: Any = None,
        continuous_batching_config: Any = None,
        workload_hints: Any = None,
    ) -> ContinuousBatchingManager:
        """A manager that serves requests as they come, once it is started.

        Args:
            generation_config: Settings of requests that say nothing themselves.
            continuous_batching_config: Memory and work.
            workload_hints: Accepted: `max_requests_per_batch` of the config says it here.
        """
        batching = ContinuousBatchingConfig.of(continuous_batching_config)
        settings = _settings(self, generation_config, {})
        book = RequestBook(self, settings, batching, max_context=None, sequences=_MOST_SIDE_BY_SIDE)
        return ContinuousBatchingManager(book, max_queue_size=batching.max_queue_size)

    @contextmanager
    def continuous_batching_context_manager(
        self,
        generation_config: Any = None,
        block: bool = True,
        timeout: float | None = None,
        continuous_batching_config: Any = None,
        persistent_manager: bool = False,
        warmup: bool = True,
        workload_hints: Any = None,
    ) -> Iterator[ContinuousBatchingManager]:
        """A manager for a `with` block, which is stopped behind it.

        Args:
            generation_config: As for `init_continuous_batching`.
            block: Wait for running requests at the end of the block.
            timeout: Seconds to wait.
            continuous_batching_config: As for `init_continuous_batching`.
            persistent_manager: Refused: use `init_continuous_batching`.
            warmup: Accepted: there is nothing to warm up.
            workload_hints: As for `init_continuous_batching`.
        """
        if persistent_manager:
            raise RequestError(
                "keep a manager from init_continuous_batching()", field="persistent_manager"
            )
        manager = self.init_continuous_batching(
            generation_config, continuous_batching_config, workload_hints
        )
        manager.start()
        try:
            yield manager
        except BaseException:
            manager.stop(block=block, timeout=timeout, hard_stop=True)
            raise
        manager.stop(block=block, timeout=timeout)


def _settings(model: Any, given: Any, kwargs: dict[str, Any]) -> GenerationConfig:
    """The settings of all requests.

    Raises:
        RequestError: a keyword is no setting.
    """
    own = getattr(model, "generation_config", None)
    own = GenerationConfig.from_model_config(model.config) if own is None else as_config(own)
    config, rest = resolve(given, own, kwargs)
    if rest:
        raise RequestError("no such argument of continuous batching; leave it out", field=min(rest))
    return config


def _ids(prompt: Any) -> list[int]:
    ids = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(ids, list | tuple):
        raise RequestError(
            f"{str(prompt)[:60]!r} is no list of token ids; pass text through the tokenizer",
            field="inputs",
        )
    return list(ids)


def _longest(prompts: list[list[int]], settings: GenerationConfig) -> int | None:
    """Prompt and output of the longest request; None if the model's context is the limit."""
    longest = max(map(len, prompts))
    if settings.max_new_tokens is not None:
        return longest + settings.max_new_tokens + 1
    return None if settings.max_length is None else max(settings.max_length, longest + 1) + 1


@contextmanager
def _progress(shown: bool, total: int) -> Iterator[Any]:
    """A function that moves the bar on by one."""
    if not shown:
        with nullcontext():
            yield lambda: None
        return
    from rich.progress import Progress

    with Progress() as progress:
        task = progress.add_task("generating", total=total)
        yield lambda: progress.advance(task)
