"""Generated conversations rendered by Ossia and by the openai_harmony package.

    cd tests && python -m fuzz.renderer --conversations 20000

With every intended difference switched back, the tokens must be the same. Then Ossia's own
rendering is compared, and each difference must be one of the written list. What the conversations
held is counted beside.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import openai_harmony
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ossia.errors import HarmonyError
from ossia.harmony import (
    Conversation,
    Message,
    RenderConversationConfig,
    Renderer,
    Role,
    SystemContent,
    TextContent,
)
from ossia.harmony.differences import ALL, Difference
from ossia.tokenizer import Tokenizer
from support.harmony_oracle import Oracle
from support.harmony_strategies import (
    SPECIAL_LOOKING,
    any_schemas,
    conversations,
    nested_schemas,
    sensible_schemas,
)
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
        counts.update(f"with {feature}" for feature in set(features(messages)))
        if _attempt(lambda: render(ours, messages, how, drop=drop)) == expected:
            counts["the same without switching anything back"] += 1
            return
        for difference, renderer in all_but_one.items():
            if _attempt(lambda r=renderer: render(r, messages, how, drop=drop)) != expected:
                counts[f"differs by {difference.name}"] += 1

    schemas = st.one_of(any_schemas(), nested_schemas(), nested_schemas(), sensible_schemas())
    run: Callable[[], None] = seed(seed_)(
        settings(
            max_examples=num_conversations,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(conversations(schemas), st.sampled_from(HOW), st.booleans())(compare))
    )
    run()
    return counts


def features(messages: list[Message]) -> Iterator[str]:
    """What makes a conversation worth rendering."""
    words = json.dumps([message.to_dict() for message in messages], ensure_ascii=False)
    yield from (f"characters of plane {ord(character) >> 16}" for character in words)
    if any(word in words for word in SPECIAL_LOOKING):
        yield "imitated special tokens"
    for message in messages:
        for content in message.content:
            if isinstance(content, TextContent):
                continue
            for group in (content.tools or {}).values():
                is_system = isinstance(content, SystemContent)
                yield "built-in tools" if is_system else "functions"
                schemas = [tool.parameters for tool in group.tools]
                yield f"schemas {max(map(_depth, schemas), default=0)} levels deep"
    yield f"{sum(message.author.role is Role.USER for message in messages)} turns"
    calls = 0
    for message in messages:
        if message.author.role is Role.ASSISTANT:
            calls = calls + 1 if message.recipient else 0 if message.channel == "final" else calls
            if calls:
                yield f"a chain of {calls} calls"


def _depth(schema: object) -> int:
    if isinstance(schema, dict):
        return int("type" in schema) + max(map(_depth, schema.values()), default=0)
    return max(map(_depth, schema), default=0) if isinstance(schema, list) else 0


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
