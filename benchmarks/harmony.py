"""Rendering and parsing beside the openai_harmony package, in one run.

    PYTHONPATH=tests python benchmarks/harmony.py

Parsing asks for the delta, channel and recipient after each token. Rendering takes 200 messages of
about 31,000 tokens: cold, with nothing remembered, and once more with one message appended. Each
figure is the best of several rounds. The last lines are what the header mask costs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import openai_harmony
import torch

from ossia.api.runtime import Runtime
from ossia.engine.config import EngineConfig
from ossia.harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    HeaderGrammar,
    HeaderMask,
    HeaderRules,
    Message,
    Renderer,
    Role,
    StreamableParser,
    StreamParser,
    SystemContent,
    ToolDescription,
)
from ossia.tokenizer import Tokenizer
from ossia.types import Request, SamplingParams, TokenMask
from support.harmony_oracle import to_library
from support.vocabulary import write_tiktoken_files

_TEXT = (
    "The harbour lay quiet until the first boats came in, and by noon 17 of them had landed "
    "their catch: herring, mostly, and a few crabs. def weigh(crate: dict) -> float: return 0.5\n"
    "Größe, naïveté, 日本語 and 🫠 occur as well. "
)


def load_library() -> openai_harmony.HarmonyEncoding:
    """The library's encoding, from our vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        write_tiktoken_files(Path(folder))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
        return openai_harmony.load_harmony_encoding("HarmonyGptOss")


def best(run: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of several runs."""
    times: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times)


def conversation(tokenizer: Tokenizer, num_messages: int, num_tokens: int) -> Conversation:
    """Tools, then turns of random words that come to about this many tokens."""
    random = Random(0)
    words = _TEXT.split()
    parameters = {"type": "object", "properties": {"query": {"type": "string"}}}
    tools = [ToolDescription(f"look_up_{n}", "Looks up a query.", parameters) for n in range(8)]
    opening = [
        Message.from_role_and_content(Role.SYSTEM, SystemContent()),
        Message.from_role_and_content(
            Role.DEVELOPER, DeveloperContent("Be brief.").with_function_tools(tools)
        ),
    ]
    words_each = num_tokens // num_messages * len(words) // len(tokenizer.encode(_TEXT))
    turns = [
        Message.from_role_and_content(
            Role.ASSISTANT if turn % 2 else Role.USER, " ".join(random.choices(words, k=words_each))
        )
        for turn in range(num_messages - len(opening))
    ]
    for answer in turns[1::2]:
        answer.channel = "final"
    return Conversation([*opening, *turns])


def parse_by_events(tokenizer: Tokenizer, tokens: list[int]) -> None:
    """Ours, as the package itself uses it."""
    parser = StreamParser(tokenizer)
    for token in tokens:
        for event in parser.push(token):
            _ = event
        header = parser.header
        if header is not None:
            _ = header.channel, header.recipient


def parse_by_properties(
    parser: StreamableParser | openai_harmony.StreamableParser, tokens: list[int]
) -> None:
    """Either, through the library's names."""
    for token in tokens:
        parser.process(token)
        _ = parser.last_content_delta, parser.current_channel, parser.current_recipient


def measure_parsing(
    tokenizer: Tokenizer, library: openai_harmony.HarmonyEncoding, rounds: int
) -> None:
    """Microseconds a token at two lengths of a message, 20,000 tokens in all."""
    encoding = HarmonyEncoding(tokenizer)
    for length in (200, 20_000):
        body = tokenizer.encode(_TEXT * (length // 40))[:length]
        message = [*tokenizer.encode_with_special("<|channel|>final<|message|>"), *body]
        next_start = tokenizer.encode_with_special("<|end|><|start|>assistant")
        tokens = [*message, *next_start] * (20_000 // length)
        per_token = 1e6 / len(tokens)
        events = best(lambda t=tokens: parse_by_events(tokenizer, t), rounds)
        ours = best(
            lambda t=tokens: parse_by_properties(StreamableParser(encoding, Role.ASSISTANT), t),
            rounds,
        )
        theirs = best(
            lambda t=tokens: parse_by_properties(
                openai_harmony.StreamableParser(library, openai_harmony.Role.ASSISTANT), t
            ),
            rounds,
        )
        print(
            f"parse, messages of {length:>6,} tokens: events {events * per_token:.2f} us/token, "
            f"StreamableParser {ours * per_token:.2f}, library {theirs * per_token:.2f}"
        )


def measure_rendering(
    tokenizer: Tokenizer, library: openai_harmony.HarmonyEncoding, rounds: int
) -> None:
    """Milliseconds for 200 messages: cold, and with one more."""
    whole = conversation(tokenizer, 200, 31_000)
    grown = Conversation([*whole.messages, Message.from_role_and_content(Role.USER, "And then?")])
    theirs = openai_harmony.Conversation.from_messages([to_library(each) for each in whole])
    ids = library.render_conversation_for_completion(theirs, openai_harmony.Role.ASSISTANT)
    assert Renderer(tokenizer).render_conversation_for_completion(whole) == ids
    cold = best(lambda: Renderer(tokenizer).render_conversation_for_completion(whole), rounds)
    warm: list[float] = []
    for _ in range(rounds):
        renderer = Renderer(tokenizer)
        renderer.render_conversation_for_completion(whole)
        warm.append(best(lambda r=renderer: r.render_conversation_for_completion(grown), 1))
    full = best(
        lambda: library.render_conversation_for_completion(theirs, openai_harmony.Role.ASSISTANT),
        rounds,
    )
    print(
        f"render {len(whole.messages)} messages, {len(ids):,} tokens: library {full * 1e3:.2f} ms"
    )
    print(f"  cold:         {cold * 1e3:7.2f} ms, {cold / full:.2f} times the library's")
    print(f"  one appended: {min(warm) * 1e3:7.2f} ms, {full / min(warm):.1f} times faster")


def measure_mask(tokenizer: Tokenizer, rounds: int) -> None:
    """What the mask itself costs, without applying it to logits."""
    rules = HeaderRules(functions=tuple(f"functions.look_up_{n}" for n in range(20)))
    made = best(lambda: HeaderGrammar(tokenizer, rules), rounds)
    print(f"header grammar of 20 tools: {made * 1e3:.2f} ms, once")
    grammar = HeaderGrammar(tokenizer, rules)
    header = tokenizer.encode_with_special("<|channel|>final<|message|>")
    body = tokenizer.encode(_TEXT * 20)

    def follow() -> None:
        mask = HeaderMask(grammar)
        for token in [*header, *body]:
            mask.allowed()
            mask.accept(token)

    print(f"header mask: {best(follow, rounds) / (len(header) + len(body)) * 1e6:.2f} us/token")


def measure_masked_generation(tokenizer: Tokenizer, rounds: int) -> None:
    """What the mask adds to a token of a very small model with the whole vocabulary, on the CPU."""
    torch.set_num_threads(1)
    config = EngineConfig(max_sequences=1, prefix_reuse=False, kv_cache_bytes=1 << 26)
    engine = Runtime.load("random:tiny", device="cpu", config=config).engine
    grammar = HeaderGrammar(tokenizer, HeaderRules())
    num_tokens = 100

    def generate(make_mask: Callable[[int], TokenMask | None] | None) -> None:
        sampling = SamplingParams(temperature=0, max_tokens=num_tokens)
        engine.generate(
            [Request(request_id="it", prompt_ids=(1, 2, 3), sampling=sampling, make_mask=make_mask)]
        )

    plain = best(lambda: generate(None), rounds) / num_tokens
    masked = best(lambda: generate(lambda _: HeaderMask(grammar)), rounds) / num_tokens
    print(
        f"greedy generation: {plain * 1e3:.2f} ms/token, with the mask {masked * 1e3:.2f}: "
        f"{(masked - plain) * 1e6:.0f} us more"
    )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    tokenizer, library = Tokenizer.o200k_harmony(), load_library()
    measure_parsing(tokenizer, library, rounds)
    measure_rendering(tokenizer, library, rounds)
    measure_mask(tokenizer, rounds)
    measure_masked_generation(tokenizer, rounds)


if __name__ == "__main__":
    main()
