"""`ossia generate`: raw text in, text out, without harmony."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ossia.cli.loading import load_runtime
from ossia.cli.options import (
    CpuActivations,
    CpuActivationsOption,
    CpuWeights,
    CpuWeightsOption,
    DeviceOption,
    DtypeOption,
    FirstWord,
    Fp8Weights,
    Fp8WeightsOption,
    JsonOption,
    RevisionOption,
    SecondWord,
    SeedOption,
    StopOption,
    TopPOption,
)
from ossia.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ossia.api.text_generation import TextPiece
    from ossia.tokenizer import Tokenizer


EXAMPLES = (
    'ossia generate openai/gpt-oss-20b "Once upon a time" --limit 50',
    'ossia generate demo "<|start|>user<|message|>Hi<|end|><|start|>assistant" --special',
)


def generate(
    model: FirstWord = None,
    prompt: SecondWord = None,
    prompt_option: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The text, in place of the argument.")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", help="0 always takes the likeliest token.")
    ] = 0.0,
    limit: Annotated[
        int, typer.Option("--limit", "-l", min=0, help="Stop after so many tokens; 0: no limit.")
    ] = 0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = None,
    stop: StopOption = None,
    special: Annotated[
        bool, typer.Option("--special", help="Read <|start|> and the like in the text as tokens.")
    ] = False,
    logprobs: Annotated[
        bool, typer.Option("--logprobs", help="Print each token and its log-probability.")
    ] = False,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    cpu_weights: CpuWeightsOption = CpuWeights.BF16,
    cpu_activations: CpuActivationsOption = CpuActivations.FULL,
    fp8_weights: Fp8WeightsOption = Fp8Weights.NONE,
) -> None:
    """Continue a text, without any conversation format.

    A single argument is the text, given to the demo model, unless it can only be a model.
    """
    from ossia.cli.prompt import model_and_prompt
    from ossia.types import SamplingParams

    sampling = SamplingParams(
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        max_tokens=limit or None,
        logprobs=0 if logprobs else None,
    )
    name, text = model_and_prompt(model, prompt, prompt_option)

    output = Output()
    runtime = load_runtime(
        output,
        name,
        dtype=dtype,
        device=device,
        revision=revision,
        cpu_weights=cpu_weights,
        cpu_activations=cpu_activations,
        fp8_weights=fp8_weights,
    )

    from ossia.api.text_generation import generate_text

    tokenizer = runtime.tokenizer
    ids = tokenizer.encode_with_special(text) if special else tokenizer.encode(text)
    pieces = generate_text(runtime.engine, tokenizer, ids, sampling=sampling, stop=stop or ())
    with output.waiting("reading the text"):
        if as_json:
            _show_json(output, tokenizer, pieces, len(ids))
        elif logprobs:
            _show_tokens(output, tokenizer, pieces)
        else:
            for piece in pieces:
                output.text(piece.text)
            output.line()


def _show_tokens(output: Output, tokenizer: Tokenizer, pieces: Iterable[TextPiece]) -> None:
    for piece in pieces:
        if piece.logprob is not None:
            token = tokenizer.decode([piece.logprob.token_id])
            output.line(f"{token!r}\t{piece.logprob.logprob:.6f}")


def _show_json(
    output: Output, tokenizer: Tokenizer, pieces: Iterable[TextPiece], prompt_len: int
) -> None:
    kept = list(pieces)
    tokens = [piece for piece in kept if piece.token_id is not None]
    value: dict[str, object] = {
        "text": "".join(piece.text for piece in kept),
        "finish_reason": kept[-1].finish_reason,
        "usage": {"input_tokens": prompt_len, "output_tokens": len(tokens)},
    }
    scored = [piece.logprob for piece in tokens if piece.logprob is not None]
    if scored:
        value["tokens"] = [
            {"id": one.token_id, "text": tokenizer.decode([one.token_id]), "logprob": one.logprob}
            for one in scored
        ]
    output.json(value)
