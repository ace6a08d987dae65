"""time_step: the parts of a decode step, by the best way that a model and its device allow."""

from __future__ import annotations

import torch

from ossia.bench.ceilings import Ceilings
from ossia.bench.kernel_time import StepTimes
from ossia.bench.operations import time_operations
from ossia.bench.subject import Subject
from ossia.errors import RequestError
from ossia.model.decode_step import MAX_ROWS, why_not
from ossia.model.interleaving import interleave_weights
from ossia.model.interleaving import why_not as why_not_interleaved


def time_step(
    subject: Subject, batch: int, context: int, ceilings: Ceilings, repeats: int
) -> StepTimes:
    """Time a step of `batch` sequences of `context` tokens.

    Args:
        subject: The model. On CUDA its packed experts are relaid where it runs as one graph, on the
            CPU they are interleaved for the kernels there, as by an engine.
        batch: Sequences, at least 1.
        context: Tokens of each, the new one included.
        ceilings: Measured on the same device.
        repeats: Runs of each part; medians count.

    Raises:
        RequestError: the context is longer than the model's; names the field.
    """
    most = subject.network.config.max_position_embeddings
    if context > most:
        raise RequestError(f"{context} tokens exceed the model's {most}", field="context")
    arguments = (subject.network, batch, context, ceilings.read_bandwidth, repeats)
    if why_not_graph(subject) is None and batch <= MAX_ROWS:
        from ossia.bench.launches import time_launches

        return time_launches(*arguments)
    if why_not_interleaved(subject.network) is None:
        interleave_weights(subject.network)
    return time_operations(*arguments)


def why_not_graph(subject: Subject) -> str | None:
    """Why a model's steps are not one CUDA graph; None where they are."""
    if subject.device.type != "cuda" or not torch.cuda.is_available():
        return "needs a CUDA device"
    return why_not(subject.network, subject.dtype)
