"""Pipeline: what pipelines of all tasks share: a model, its tokenizer, one input or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch

from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.errors import RequestError

Run = Callable[[list[Any]], list[Any]]


class Pipeline:
    """A model with its tokenizer, ready to be called on text.

    Args:
        model: The model; it is set to evaluation.
        tokenizer: Its tokenizer.
        batch_size: How many inputs are computed together; None leaves it to the task.
        options: What calls take, unless they say otherwise.

    Raises:
        RequestError: an option that calls do not take.
    """

    task: ClassVar[str]
    default_batch_size: ClassVar[int] = 1

    def __init__(
        self,
        model: Any,  # noqa: ANN401  (a class of api.models)
        tokenizer: PreTrainedTokenizer,
        *,
        batch_size: int | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self._batch_size = batch_size
        self._options = options
        for name in options.keys() & {"inputs", "text_inputs"}:
            raise RequestError("is for calls of the pipeline; leave it out", field=name)
        self.prepare({name: options[name] for name in options if name != "num_workers"})

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's floating-point weights."""
        return next(one.dtype for one in self.model.parameters() if one.is_floating_point())

    def __call__(self, inputs: Any, **options: Any) -> Any:  # noqa: ANN401  (as the task says)
        """Run on one input, a list of inputs, or whatever gives inputs one after the other.

        Args:
            inputs: One input, or a list, dataset or generator of inputs.
            options: Those of the task; `batch_size` says how many inputs are computed together.
                `num_workers` makes no difference: reading texts takes no time.

        Returns:
            What the task says; a list for a list; an iterator for other iterables, which computes
            as it goes.

        Raises:
            RequestError: an option that is unknown, or an input that is none.
        """
        chosen = {**self._options, **options}
        chosen.pop("num_workers", None)
        sizes = (chosen.pop("batch_size", None), self._batch_size, self.default_batch_size)
        size = next(one for one in sizes if one is not None)
        run = self.prepare(chosen)
        if type(size) is not int or size < 1:
            raise RequestError(f"{size!r} is no number of inputs", field="batch_size")
        if self.is_one(inputs):
            return self.one(run([inputs])[0], chosen)
        if isinstance(inputs, list | tuple):
            return [output for batch in _batches(inputs, size) for output in run(batch)]
        if not isinstance(inputs, Iterable) and not hasattr(inputs, "__getitem__"):
            raise RequestError(f"{type(inputs).__name__} is no input", field="inputs")
        return (output for batch in _batches(_items(inputs), size) for output in run(batch))

    def prepare(self, options: dict[str, Any]) -> Run:
        """What turns a batch of inputs into as many outputs, by these options.

        Raises:
            RequestError: an option is unknown or contradicts another.
        """
        raise NotImplementedError

    def is_one(self, inputs: Any) -> bool:  # noqa: ANN401
        """Whether this is one input, not several."""
        return isinstance(inputs, str)

    def one(self, output: Any, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """What is given for a single input."""
        del options
        return output

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write model and tokenizer into a folder, from which `pipeline` makes this again."""
        self.model.save_pretrained(save_directory)
        self.tokenizer.save_pretrained(save_directory)


def _items(inputs: Any) -> Iterator[Any]:  # noqa: ANN401
    """The inputs of an iterable, or of a dataset that only knows places."""
    if isinstance(inputs, Iterable):
        yield from inputs
        return
    for place in range(len(inputs)):
        yield inputs[place]


def _batches(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(inputs)
    while batch := list(islice(rest, size)):
        yield batch
