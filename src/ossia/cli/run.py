"""`ossia run`: one question, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ossia.cli.loading import load_runtime
from ossia.cli.options import (
    CpuActivations,
    CpuActivationsOption,
    CpuWeights,
    CpuWeightsOption,
    DeviceOption,
    DtypeOption,
    Effort,
    EffortOption,
    FirstWord,
    Fp8Weights,
    Fp8WeightsOption,
    InstructionsOption,
    JsonOption,
    MaxTokensOption,
    NoReasoningOption,
    RawOption,
    RevisionOption,
    SecondWord,
    SeedOption,
    ShowReasoningOption,
    StopOption,
    TemperatureOption,
    TopPOption,
)
from ossia.cli.output import Output
from ossia.errors import RequestError

EXAMPLES = (
    "ossia run \"How many rs are in the word 'strawberry'?\"",
    'ossia run openai/gpt-oss-20b "Why is the sky blue?" --effort high --show-reasoning',
    "echo 'Once upon a time' | ossia run --task text-generation --model demo",
    "cat question.txt | ossia run openai/gpt-oss-20b - --json",
)


def run(
    model: FirstWord = None,
    prompt: SecondWord = None,
    effort: EffortOption = Effort.MEDIUM,
    instructions: InstructionsOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = None,
    stop: StopOption = None,
    show_reasoning: ShowReasoningOption = False,
    no_reasoning: NoReasoningOption = False,
    raw: RawOption = False,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    cpu_weights: CpuWeightsOption = CpuWeights.BF16,
    cpu_activations: CpuActivationsOption = CpuActivations.FULL,
    fp8_weights: Fp8WeightsOption = Fp8Weights.NONE,
    task: Annotated[
        str | None,
        typer.Option(help="Run a pipeline on each line of input: text-generation, ner, ..."),
    ] = None,
    model_option: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="The model, with --task.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="A file for --task. [default: standard input]")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", help="The JSON file that --task writes.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Which column or member of --input is the text.")
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="Of --input: json, csv, pipe (lines) or infer.")
    ] = "infer",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --output.")
    ] = False,
) -> None:
    """Ask one question.

    A single argument is the question, put to the demo model, unless it can only be a model.
    """
    output = Output()
    if task is not None:
        from ossia.cli.task import run_task

        if prompt is not None:
            raise RequestError("the text is on standard input or in --input", field="prompt")
        _refuse_given(
            "pipelines round nothing; leave it out",
            ("cpu-weights", cpu_weights, CpuWeights.BF16),
            ("cpu-activations", cpu_activations, CpuActivations.FULL),
            ("fp8-weights", fp8_weights, Fp8Weights.NONE),
        )
        _refuse_given(
            "says nothing to --task; leave it out",
            ("effort", effort, Effort.MEDIUM),
            ("instructions", instructions, None),
            ("seed", seed, None),
            ("stop", stop or None, None),
            ("show-reasoning", show_reasoning, False),
            ("no-reasoning", no_reasoning, False),
            ("raw", raw, False),
        )
        if task != "text-generation":
            _refuse_given(
                "is for --task text-generation; leave it out",
                ("max-tokens", max_tokens, None),
                ("temperature", temperature, 1.0),
                ("top-p", top_p, 1.0),
            )
        run_task(
            output,
            task,
            model_option or model or "demo",
            source=source,
            target=target,
            column=column,
            file_format=file_format,
            overwrite=overwrite,
            device=None if device == "auto" else device,
            dtype=dtype,
            revision=revision,
            **_sampling(max_tokens, temperature, top_p) if task == "text-generation" else {},
        )
        return

    _refuse_given(
        "is for --task, which was not given",
        ("input", source, None),
        ("output", target, None),
        ("column", column, None),
        ("format", file_format, "infer"),
        ("overwrite", overwrite, False),
    )
    from ossia.cli.prompt import model_and_prompt
    from ossia.types import SamplingParams

    if raw and as_json:
        raise RequestError("--raw and --json exclude each other", field="output")
    sampling = SamplingParams(
        temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens
    )
    if model_option is not None:
        model, prompt = model_option, model if prompt is None else prompt
    name, text = model_and_prompt(model, prompt)
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

    from ossia.api.conversation import respond
    from ossia.api.opening import opening_messages, user_message
    from ossia.api.question import Question
    from ossia.cli.answer_view import AnswerView, show_json, show_raw
    from ossia.harmony import ReasoningEffort

    opening = opening_messages(effort=ReasoningEffort(effort.value), instructions=instructions)
    question = Question(
        [*opening, user_message(text)],
        sampling=sampling,
        stop=stop or (),
        reasoning=not no_reasoning,
    )
    events = respond(runtime.engine, runtime.tokenizer, question)
    if as_json:
        show_json(output, events)
    elif raw:
        show_raw(output, runtime.tokenizer, events)
    else:
        for _ in AnswerView(output, show_reasoning=show_reasoning).show(events):
            pass


def _refuse_given(why: str, *options: tuple[str, object, object]) -> None:
    """Refuse options, each a flag, its value and the value that it has if it was not given."""
    for flag, value, plain in options:
        if value != plain:
            raise RequestError(why, field=flag)


def _sampling(max_tokens: int | None, temperature: float, top_p: float) -> dict[str, object]:
    """Sampling in the words of a pipeline."""
    given: dict[str, object] = {"temperature": temperature, "top_p": top_p}
    return given if max_tokens is None else given | {"max_new_tokens": max_tokens}
