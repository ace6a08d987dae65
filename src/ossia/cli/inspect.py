"""`ossia inspect`: a model's shape, tensors and size, and where it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ossia.cli.options import JsonOption, ModelArgument, RevisionOption
from ossia.cli.output import Output
from ossia.cli.units import bytes_in_words, count_in_words

if TYPE_CHECKING:
    from ossia.checkpoint.summary import Fit, Summary
    from ossia.config import ModelConfig
    from ossia.machine import Memory


EXAMPLES = (
    "ossia inspect demo",
    "ossia inspect random:120b --memory 80GB",
    "ossia inspect ./checkpoint --tensors",
)


def inspect(
    model: ModelArgument,
    revision: RevisionOption = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    memory: Annotated[
        list[str] | None,
        typer.Option(
            help="Another memory to fit it into, all of it free: 80GB, 24GiB. Repeatable."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's parts and size, and whether it fits here.

    Only headers are read, and every tensor is checked against config.json.
    """
    from ossia.api.model_report import summary_of, summary_to_dict
    from ossia.api.model_source import find_model

    output = Output()
    with output.progress() as progress:
        source = find_model(model, revision=revision, progress=progress)
        summary = summary_of(source, [_memory(size) for size in memory or ()])
    if as_json:
        output.json(summary_to_dict(summary))
        return
    output.table(list(_facts(model, summary).items()))
    output.line()
    output.table([_fit_row(fit) for fit in summary.fits], ("memory", "device", "free", "fits"))
    if tensors:
        output.line()
        output.table(
            [
                (spec.name, spec.dtypes[0], list(spec.shape), spec.nbytes)
                for spec in summary.tensors
            ],
            ("tensor", "dtype", "shape", "bytes"),
        )


def _memory(size: str) -> Memory:
    from ossia.api.models.device_map import parse_bytes
    from ossia.machine import Memory

    count = parse_bytes(size, "--memory")
    return Memory(size, "-", count, count)


def _facts(model: str, summary: Summary) -> dict[str, str]:
    kinds = ", ".join(
        f"{kind} {bytes_in_words(size)}" for kind, size in summary.bytes_by_kind.items()
    )
    place = f"{summary.folder} ({summary.layout} layout)" if summary.folder else "made in memory"
    return {
        "model": model,
        "files": place,
        **_shape(summary.config),
        "parameters": f"{count_in_words(summary.parameters)}, of which a token uses "
        f"{count_in_words(summary.active_parameters)}",
        "weights": f"{bytes_in_words(summary.nbytes)}: {kinds}",
        "KV cache": f"{bytes_in_words(summary.kv_bytes_per_token)} a token, and "
        f"{bytes_in_words(summary.kv_bytes_window)} a sequence (16-bit)",
    }


def _shape(config: ModelConfig) -> dict[str, str]:
    sliding = config.layer_types.count("sliding_attention")
    return {
        "layers": f"{config.num_hidden_layers}: {sliding} with a window of "
        f"{config.sliding_window} tokens, {config.num_hidden_layers - sliding} without",
        "hidden": f"{config.hidden_size}",
        "attention": f"{config.num_attention_heads} heads of {config.head_dim}, "
        f"{config.num_key_value_heads} for keys and values",
        "experts": f"{config.num_experts} of {config.intermediate_size} ({config.expert_format}), "
        f"{config.experts_per_token} a token",
        "vocabulary": f"{config.vocab_size:,}",
        "context": f"{config.max_position_embeddings:,} tokens",
    }


def _fit_row(fit: Fit) -> tuple[str, str, str, str]:
    if fit.fits:
        verdict = f"yes, with {fit.context_tokens:,} tokens of context, {fit.kv_tokens:,} in all sequences"
    elif fit.short_bytes:
        verdict = f"no, {bytes_in_words(fit.short_bytes)} short"
    else:
        verdict = "no room for a context"
    memory = fit.memory
    return memory.name, memory.device, bytes_in_words(memory.free_bytes), verdict
