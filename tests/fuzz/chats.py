"""Generated chats through `apply_chat_template` of Ossia and of transformers.

    cd tests && python -m fuzz.chats chat_template.jinja --calls 1000

The template is the one that gpt-oss publishes, or any other. The same arguments go to both: what
one refuses the other must refuse, and results must be equal.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.api.tokenizing.tokenizer_files import DEFAULTS, TokenizerFiles
from ossia.errors import OssiaError
from ossia.tokenizer import Tokenizer, vocabulary
from support.harmony_chats import TODAY, Chat, chats, fixed_date, for_the_published_template


def get_weather(city: str, days: list[int], unit: str = "celsius") -> str:
    """Say the weather.

    Args:
        city: Where.
        days: Which ones, counted from today.
        unit: How temperatures are given. (choices: ["celsius", "fahrenheit"])

    Returns:
        A sentence.
    """
    return f"{city}, {days}, {unit}"


@st.composite
def calls(draw: st.DrawFn) -> tuple[Any, Chat]:
    """One or two chats, and every argument that there is."""
    takeable = chats().map(for_the_published_template)
    chat = draw(chats() if draw(st.integers(0, 19)) == 19 else takeable)
    arguments = {name: value for name, value in chat.items() if name != "messages"}
    conversation = chat["messages"]
    is_batched = draw(st.integers(0, 4)) == 4
    if is_batched:
        conversation = [conversation, draw(takeable)["messages"]]
    optional: dict[str, st.SearchStrategy[Any]] = {
        "tokenize": st.booleans(),
        "return_dict": st.booleans(),
        "thinking": st.none(),  # the template does not ask for it: a value would be refused
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "return_tensors": st.sampled_from(["pt", "np", None]),
        "tokenizer_kwargs": st.sampled_from(
            [None, {"padding_side": "left"}, {"pad_to_multiple_of": 8}]
        ),
    }
    arguments |= draw(st.fixed_dictionaries({}, optional=optional))
    if draw(st.integers(0, 3)) == 3:
        arguments["continue_final_message"] = draw(
            st.sampled_from([True, True, "content", "thinking"])
        )
        arguments["add_generation_prompt"] = draw(st.integers(0, 9)) == 9
    if arguments.get("padding") == "max_length" or draw(st.integers(0, 5)) == 5:
        arguments["max_length"] = draw(st.integers(1, 300))
        arguments["truncation"] = draw(st.booleans())
    if draw(st.integers(0, 5)) == 5:
        arguments["tools"] = [get_weather, *arguments.get("tools", [])]
    return conversation, arguments


def compare(ours: Any, theirs: Any, conversation: Any, arguments: Chat) -> str:
    """Assert that both give the same; says which it was."""
    try:
        expected = theirs.apply_chat_template(conversation, **arguments)
    except Exception as error:  # of many kinds
        try:
            found = ours.apply_chat_template(conversation, **arguments)
        except OssiaError:
            return f"refused by both: {' '.join(str(error).split())[:60]}"
        raise AssertionError(f"only transformers refuses; Ossia gives {found!r}") from None
    assert listed(ours.apply_chat_template(conversation, **arguments)) == listed(expected)
    return "the same"


def listed(value: Any) -> Any:
    """What a tokenizer gave as plain data, with the kind of its tensors."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return (type(value).__name__, str(value.dtype), value.tolist())
    if hasattr(value, "items"):
        return {name: listed(item) for name, item in value.items()}
    return value


def tokenizers(source: str, folder: Path) -> tuple[PreTrainedTokenizer, Any]:
    """Ours and transformers', with this template."""
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer.json"
    file.write_bytes(vocabulary.tokenizer_json())
    names = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|return|>",
        "pad_token": "<|endoftext|>",
    }
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(file), chat_template=source, **names)
    files = TokenizerFiles(Tokenizer.o200k_harmony(), DEFAULTS, source)
    return PreTrainedTokenizer(files, now=lambda: TODAY), theirs


def fuzz(ours: Any, theirs: Any, num_calls: int, seed_: int) -> Counter[str]:
    """Compare this many calls; counts what was met."""
    counts: Counter[str] = Counter()

    def one(call: tuple[Any, Chat]) -> None:
        outcome = compare(ours, theirs, *call)
        counts.update({"calls": 1, outcome: 1})
        outcome, _, reason = outcome.partition(":")
        counts["refused by both"] += bool(reason)
        given_ = {name for name, value in call[1].items() if value not in (None, False, [])}
        counts.update(f"{outcome}, with {name}" for name in given_)
        if isinstance(call[0][0] if call[0] else None, list):
            counts[f"{outcome}, of two chats"] += 1

    run: Callable[[], None] = seed(seed_)(
        settings(
            max_examples=num_calls,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(calls())(one))
    )
    with fixed_date():
        run()
    return counts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("template", type=Path)
    options.add_argument("--calls", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = tokenizers(chosen.template.read_text(encoding="utf-8"), Path(folder))
        counts = fuzz(ours, theirs, chosen.calls, chosen.seed)
    for name, count in sorted(counts.items()):
        print(f"{count:>10,} {name}")
    print(f"{time.perf_counter() - begun:.1f} s; both give the same, or both refuse")


if __name__ == "__main__":
    main()
