"""Generated conversations rendered by Ossia and by the openai_harmony package.

    cd tests && python -m fuzz.renderer --conversations 20000

With every intended difference switched back, the tokens must be the same. Then Ossia's own
rendering is compared, and each difference must be one of the written list.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import openai_harmony
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ossia.errors import HarmonyError
from ossia.harmony import Conversation, Message, RenderConversationConfig, Renderer
from ossia.harmony.differences import ALL, Difference
from ossia.tokenizer import Tokenizer
from support.harmony_oracle import Oracle
from support.harmony_strategies import any_schemas, conversations
from support.vocabulary import write_tiktoken_files

HOW = ["completion", "training", "conversation"]


def render(renderer: Renderer, messages: list[Message], how: str, *, drop: bool) -> list[int]:
    """`how` is completion, training or conversation."""
    conversation = Conversation.from_messages(messages)
    config = RenderConversationConfig(auto_drop_analysis=drop)
    if how == "completion":
        return renderer.render_conversation_for_completion(conversation, config=config)
    if how == "training":
        return renderer.render_conversation_for_training(conversation, config)
    return renderer.render_conversation(conversation, config)


def fuzz(tokenizer: Tokenizer, oracle: Oracle, num_conversations: int, seed_: int) -> Counter[str]:
    """Compare this many conversations; counts what was met."""
    counts: Counter[str] = Counter()
    as_library = Renderer(tokenizer, as_library=ALL)
    ours = Renderer(tokenizer)
    all_but_one = {each: Renderer(tokenizer, as_library=ALL - {each}) for each in Difference}

    def compare(messages: list[Message], how: str, drop: bool) -> None:
        expected = oracle.render(messages, how, drop=drop)
        assert render(as_library, messages, how, drop=drop) == expected
        counts.update({"conversations": 1, "messages": len(messages), "tokens": len(expected)})
        if _attempt(lambda: render(ours, messages, how, drop=drop)) == expected:
            counts["the same without switching anything back"] += 1
            return
        for difference, renderer in all_but_one.items():
            if _attempt(lambda r=renderer: render(r, messages, how, drop=drop)) != expected:
                counts[f"differs by {difference.name}"] += 1

    run: Callable[[], None] = seed(seed_)(
        settings(
            max_examples=num_conversations,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(conversations(any_schemas()), st.sampled_from(HOW), st.booleans())(compare))
    )
    run()
    return counts


def _attempt(render_: Callable[[], list[int]]) -> list[int] | None:
    """None if the conversation is refused, as names that forge headers are."""
    try:
        return render_()
    except HarmonyError:
        return None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--conversations", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_tiktoken_files(Path(folder))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
        oracle = Oracle(openai_harmony.load_harmony_encoding("HarmonyGptOss"))
    begun = time.perf_counter()
    counts = fuzz(Tokenizer.o200k_harmony(), oracle, chosen.conversations, chosen.seed)
    for name, count in sorted(counts.items()):
        print(f"{count:>10,} {name}")
    print(f"{time.perf_counter() - begun:.1f} s; every difference is on the list")


if __name__ == "__main__":
    main()
