"""`ossia chat`: a conversation on standard input and output."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from ossia import env
from ossia.cli.interrupt import catch_interrupt
from ossia.cli.line_reader import LineReader
from ossia.cli.loading import load_runtime
from ossia.cli.options import (
    ChatModelArgument,
    CpuActivations,
    CpuActivationsOption,
    CpuWeights,
    CpuWeightsOption,
    DeviceOption,
    DtypeOption,
    Effort,
    EffortOption,
    Fp8Weights,
    Fp8WeightsOption,
    InstructionsOption,
    MaxTokensOption,
    NoReasoningOption,
    RevisionOption,
    SeedOption,
    ShowReasoningOption,
    TemperatureOption,
    TopPOption,
)
from ossia.cli.output import Output
from ossia.errors import OssiaError, RequestError

if TYPE_CHECKING:
    from ossia.api.chat_client import ChatClient
    from ossia.api.dialogue import Dialogue

# What can be no folder and no hub id.
_ADDRESS = re.compile(r"https?://.+|localhost|(?:[\w.-]+|\[[\da-fA-F:]+\]):\d{1,5}(?:/.*)?")
_COMMAND = re.compile(r"/\w+")
_LEAVE = "/exit or Ctrl-D leaves, and so does Ctrl-C once more"
_HELP = (
    "/reset forgets the conversation, /exit or Ctrl-D leaves; Ctrl-C stops an answer, or takes "
    "away what is half typed"
)


EXAMPLES = (
    "ossia chat",
    "ossia chat localhost:8000 --model-name-or-path openai/gpt-oss-20b",
    'ossia chat openai/gpt-oss-20b --effort low --instructions "Answer in rhymes."',
)


def chat(
    model: ChatModelArgument = "demo",
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="A server that runs the model, such as localhost:8000."),
    ] = None,
    served_model: Annotated[
        str | None,
        typer.Option(
            "--model-name-or-path", help="The model to ask for, where MODEL is a server's address."
        ),
    ] = None,
    effort: EffortOption = Effort.MEDIUM,
    instructions: InstructionsOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = None,
    show_reasoning: ShowReasoningOption = False,
    no_reasoning: NoReasoningOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    cpu_weights: CpuWeightsOption = CpuWeights.BF16,
    cpu_activations: CpuActivationsOption = CpuActivations.FULL,
    fp8_weights: Fp8WeightsOption = Fp8Weights.NONE,
) -> None:
    """Talk with a model, a line at a time, or through a pipe.

    The model runs here, or on a server with an OpenAI API (chat completions).
    /reset forgets the conversation, /exit or Ctrl-D leaves. Ctrl-C stops an answer, takes away what
    is half typed, and leaves when it is pressed twice on an empty line.
    """
    address, name = _server(model, url, served_model)
    output = Output()
    if address is not None:
        for flag, value, default in (
            ("device", device, "auto"),
            ("dtype", dtype, "auto"),
            ("revision", revision, None),
            ("cpu-weights", cpu_weights, CpuWeights.BF16),
            ("cpu-activations", cpu_activations, CpuActivations.FULL),
            ("fp8-weights", fp8_weights, Fp8Weights.NONE),
        ):
            if value != default:
                raise RequestError("is the server's business; leave it out", field=flag)
        if no_reasoning:
            raise RequestError("servers take no such wish; use --effort low", field="no-reasoning")
        settings = {
            "reasoning_effort": effort.value,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "max_tokens": max_tokens,
        }
        dialogue = _client(address, name, settings, instructions)
    else:
        from ossia.types import SamplingParams

        sampling = SamplingParams(
            temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens
        )
        runtime = load_runtime(
            output,
            model,
            dtype=dtype,
            device=device,
            revision=revision,
            cpu_weights=cpu_weights,
            cpu_activations=cpu_activations,
            fp8_weights=fp8_weights,
        )

        from ossia.api.dialogue import Dialogue
        from ossia.api.opening import opening_messages
        from ossia.harmony import ReasoningEffort

        opening = opening_messages(effort=ReasoningEffort(effort.value), instructions=instructions)
        dialogue = Dialogue(runtime, opening, sampling=sampling, reasoning=not no_reasoning)
    _talk(output, dialogue, model, show_reasoning)


def _talk(
    output: Output, dialogue: Dialogue | ChatClient, model: str, show_reasoning: bool
) -> None:
    reader = LineReader(output, _LEAVE)
    if reader.is_interactive:
        output.note(f"{model}: {_HELP}")
    for line in reader:
        match line.strip():
            case "/exit":
                return
            case "/reset":
                dialogue.reset()
                output.note("(forgotten)")
            case "":
                pass
            case word if _COMMAND.fullmatch(word):
                output.note(f"({word} is unknown: {_HELP})")
            case text:
                _answer(output, dialogue, text, show_reasoning, reader.is_interactive)


def _server(model: str, url: str | None, served_model: str | None) -> tuple[str | None, str | None]:
    """The server's address and the model to ask it for; no address runs the model here."""
    if url is not None:
        return url, served_model or model
    if _ADDRESS.fullmatch(model):
        return model, served_model
    if served_model is not None:
        raise RequestError(f"{model!r} is no server's address", field="model-name-or-path")
    return None, None


def _client(
    address: str, model: str | None, settings: dict[str, object], instructions: str | None
) -> ChatClient:
    from ossia.api.chat_client import ChatClient

    return ChatClient(
        address,
        model,
        {name: value for name, value in settings.items() if value is not None},
        api_key=env.api_key(),
        opening=[{"role": "system", "content": instructions}] if instructions else [],
    )


def _answer(
    output: Output, dialogue: Dialogue | ChatClient, text: str, show_reasoning: bool, survives: bool
) -> None:
    from ossia.cli.answer_view import AnswerView

    view = AnswerView(output, show_reasoning=show_reasoning)
    try:
        with catch_interrupt() as interrupt, closing(dialogue.ask(text)) as events:
            for _ in view.show(events):
                if interrupt.requested:
                    view.end_line()
                    output.note("(stopped)")
                    break
    except OssiaError as error:
        if not survives:
            raise
        output.note(f"error: {error}")
