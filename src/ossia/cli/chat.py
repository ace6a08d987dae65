"""`ossia chat`: a conversation on standard input and output."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

from ossia.cli.interrupt import catch_interrupt
from ossia.cli.line_reader import LineReader
from ossia.cli.loading import load_runtime
from ossia.cli.options import (
    ChatModelArgument,
    DeviceOption,
    DtypeOption,
    Effort,
    EffortOption,
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
from ossia.errors import OssiaError

if TYPE_CHECKING:
    from ossia.api.dialogue import Dialogue

_COMMAND = re.compile(r"/\w+")
_HELP = "/reset forgets the conversation, /exit ends it; Ctrl-C stops an answer"


EXAMPLES = (
    "ossia chat",
    'ossia chat openai/gpt-oss-20b --effort low --instructions "Answer in rhymes."',
)


def chat(
    model: ChatModelArgument = "demo",
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
) -> None:
    """Talk with a model, a line at a time, or through a pipe.

    /reset forgets the conversation, /exit ends it, Ctrl-C stops an answer.
    """
    from ossia.types import SamplingParams

    sampling = SamplingParams(
        temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens
    )

    from ossia.api.dialogue import Dialogue
    from ossia.api.opening import opening_messages
    from ossia.harmony import ReasoningEffort

    output = Output()
    runtime = load_runtime(output, model, dtype=dtype, device=device, revision=revision)
    opening = opening_messages(effort=ReasoningEffort(effort.value), instructions=instructions)
    dialogue = Dialogue(runtime, opening, sampling=sampling, reasoning=not no_reasoning)
    reader = LineReader(output)
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


def _answer(
    output: Output, dialogue: Dialogue, text: str, show_reasoning: bool, survives: bool
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
