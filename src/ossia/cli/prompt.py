"""Which words of a command line are the model and which the prompt."""

from __future__ import annotations

from ossia.api.model_source import DEMO, names_model
from ossia.cli.source import STDIN, read_stdin
from ossia.errors import RequestError


def model_and_prompt(
    first: str | None, second: str | None, option: str | None = None
) -> tuple[str, str]:
    """Tell `[MODEL] PROMPT|-` apart, and read the prompt if it is on standard input.

    A single word is the model if it can be nothing else; the demo is asked otherwise.

    Args:
        first: The first positional argument.
        second: The second one.
        option: The prompt, if it was given with an option; then the only positional argument is
            the model.

    Raises:
        RequestError: no prompt, an empty one, or two.
    """
    if option is not None:
        if second is not None:
            raise RequestError("given twice, as argument and as option", field="prompt")
        model, prompt = DEMO if first is None else first, option
    elif second is not None:
        model, prompt = DEMO if first is None else first, second
    elif first is not None and names_model(first):
        raise RequestError(
            f"missing; say what to ask {first}, or - to read standard input", field="prompt"
        )
    else:
        model, prompt = DEMO, first
    if prompt is None:
        raise RequestError("missing; say what to ask, or - to read standard input", field="prompt")
    text = read_stdin("prompt") if prompt == STDIN else prompt
    if not text.strip():
        raise RequestError("is empty", field="prompt")
    return model, text
