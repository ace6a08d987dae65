"""`ossia run`: one question, one answer."""

from __future__ import annotations

from ossia.cli.loading import load_runtime
from ossia.cli.options import (
    DeviceOption,
    DtypeOption,
    Effort,
    EffortOption,
    FirstWord,
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
) -> None:
    """Ask one question.

    A single argument is the question, put to the demo model, unless it can only be a model.
    """
    from ossia.cli.prompt import model_and_prompt
    from ossia.types import SamplingParams

    if raw and as_json:
        raise RequestError("--raw and --json exclude each other", field="output")
    sampling = SamplingParams(
        temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens
    )
    name, text = model_and_prompt(model, prompt)

    from ossia.api.conversation import respond
    from ossia.api.opening import opening_messages, user_message
    from ossia.cli.answer_view import AnswerView, show_json, show_raw
    from ossia.harmony import ReasoningEffort

    output = Output()
    runtime = load_runtime(output, name, dtype=dtype, device=device, revision=revision)
    opening = opening_messages(effort=ReasoningEffort(effort.value), instructions=instructions)
    events = respond(
        runtime.engine,
        runtime.tokenizer,
        [*opening, user_message(text)],
        sampling=sampling,
        stop=stop or (),
        reasoning=not no_reasoning,
    )
    if as_json:
        show_json(output, events)
    elif raw:
        show_raw(output, runtime.tokenizer, events)
    else:
        for _ in AnswerView(output, show_reasoning=show_reasoning).show(events):
            pass
