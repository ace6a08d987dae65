"""Generations at a high temperature, with and without the header mask.

    cd tests && python -m fuzz.generation demo --generations 10000
    cd tests && python -m fuzz.generation random:tiny --generations 10000
    cd tests && python -m fuzz.generation demo --generations 1000 --no-mask

With the mask no header may be malformed and no tool be named that was not offered. Without it the
parser must still read everything. Contents are ended after a few tokens, so that a generation is
mostly headers.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from random import Random

from ossia.api.runtime import Runtime
from ossia.engine.config import EngineConfig
from ossia.harmony import (
    Conversation,
    DeveloperContent,
    HeaderGrammar,
    HeaderMask,
    HeaderRules,
    Message,
    Renderer,
    Role,
    SystemContent,
    ToolDescription,
    offered_tools,
    parse_messages,
)
from ossia.harmony.header_rules import header_forms
from ossia.tokenizer import Tokenizer, special
from ossia.types import Request, SamplingParams, TokenMask
from support.harmony_accounting import follow

_NAMES = ["get_weather", "get_weather_forecast", "look-up", "f", "wetter_für", "send2"]
_QUESTIONS = ["Hi", "How many rs are in strawberry?", "What is 12 + 30?", "Weather in Paris?"]
_SIDE_BY_SIDE = 64


class ShortContents:
    """A mask, or none, that also ends contents after so many tokens."""

    def __init__(self, mask: HeaderMask, ends: int, most: int) -> None:
        self._mask = mask
        self._ends = ends
        self._most = most
        self._length = 0

    def allowed(self) -> bytes | None:
        allowed = self._mask.allowed()
        if not self._mask.in_content or self._length < self._most or allowed is None:
            return allowed
        both = int.from_bytes(allowed, "little") & self._ends
        return both.to_bytes(len(allowed), "little")

    def accept(self, token_id: int) -> None:
        self._mask.accept(token_id)
        self._length = self._length + 1 if self._mask.in_content else 0


def _conversation(random: Random) -> Conversation:
    system = SystemContent(conversation_start_date="2025-06-28")
    if random.random() < 0.3:
        system.with_browser_tool().with_python_tool()
    tools = [ToolDescription(name, "Does it.") for name in _NAMES if random.random() < 0.4]
    developer = DeveloperContent("Be brief.")
    if tools:
        developer.with_function_tools(tools)
    return Conversation(
        [
            Message.from_role_and_content(Role.SYSTEM, system),
            Message.from_role_and_content(Role.DEVELOPER, developer),
            Message.from_role_and_content(Role.USER, random.choice(_QUESTIONS)),
        ]
    )


def _rules(conversation: Conversation, random: Random) -> HeaderRules:
    functions, builtin = offered_tools(conversation.messages)
    offered = [*functions, *builtin]
    choice = random.choice(["auto", "auto", "none", *(["required", *offered] if offered else [])])
    return HeaderRules(
        functions=functions,
        builtin_tools=builtin,
        tool_choice=choice,
        reasoning=random.random() < 0.8,
        final_only=choice in ("auto", "none") and random.random() < 0.1,
    )


def check(tokenizer: Tokenizer, tokens: list[int], rules: HeaderRules) -> None:
    """Assert that what was written under the mask keeps the rules."""
    whole = [*tokens]
    while whole and whole[-1] not in special.STOP_TOKENS:
        whole.pop()  # cut off by max_tokens, in a header or in content
    if not whole:
        return
    allowed = set(_allowed_headers(tokenizer, rules))
    for message in parse_messages(tokenizer, whole, Role.ASSISTANT, strict=True):
        assert (message.channel, message.recipient, message.content_type) in allowed, message


def _allowed_headers(
    tokenizer: Tokenizer, rules: HeaderRules
) -> Iterator[tuple[str | None, str | None, str | None]]:
    for form in header_forms(rules):
        ids = [
            token
            for piece in form.pieces
            for token in ([piece] if isinstance(piece, int) else tokenizer.encode(piece))
        ]
        (message,) = parse_messages(tokenizer, ids, Role.ASSISTANT, strict=True)
        yield message.channel, message.recipient, message.content_type


def generate(
    runtime: Runtime, count: int, *, masked: bool, max_tokens: int, seed: int
) -> Counter[str]:
    """Generate and check; counts what was met."""
    random, counts = Random(seed), Counter[str]()
    tokenizer, renderer, ends = (
        runtime.tokenizer,
        Renderer(runtime.tokenizer),
        sum(1 << token for token in special.STOP_TOKENS),
    )
    sampling = SamplingParams(
        temperature=1.5,
        max_tokens=max_tokens,
        stop_token_ids=tuple(special.ACTION_STOP_TOKENS),
    )
    for begin in range(0, count, _SIDE_BY_SIDE):
        rules: list[HeaderRules] = []
        requests: list[Request] = []
        for number in range(begin, min(begin + _SIDE_BY_SIDE, count)):
            conversation = _conversation(random)
            rules.append(_rules(conversation, random))
            grammar = HeaderGrammar(tokenizer, rules[-1])

            def make_mask(_: int, grammar: HeaderGrammar = grammar) -> TokenMask | None:
                return ShortContents(HeaderMask(grammar), ends, 2) if masked else None

            prompt = renderer.render_conversation_for_completion(conversation)
            requests.append(
                Request(
                    request_id=str(number),
                    prompt_ids=tuple(prompt),
                    sampling=sampling,
                    make_mask=make_mask,
                )
            )
        for result, rule in zip(runtime.engine.generate(requests), rules, strict=True):
            (continuation,) = result.continuations
            tokens = list(continuation.token_ids)
            counts.update({"generations": 1, "tokens": len(tokens)})
            account = follow(tokenizer, tokens, Role.ASSISTANT)
            counts["messages"] += len(account.parser.messages)
            counts.update(f"repair: {repair.kind}" for repair in account.parser.repairs)
            if masked:
                check(tokenizer, tokens, rule)
    return counts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("--generations", type=int, default=10_000)
    options.add_argument("--max-tokens", type=int, default=24)
    options.add_argument("--no-mask", action="store_true")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    runtime = Runtime.load(
        chosen.model, config=EngineConfig(max_sequences=_SIDE_BY_SIDE, kv_cache_bytes=1 << 28)
    )
    begun = time.perf_counter()
    counts = generate(
        runtime,
        chosen.generations,
        masked=not chosen.no_mask,
        max_tokens=chosen.max_tokens,
        seed=chosen.seed,
    )
    for name, count in sorted(counts.items()):
        print(f"{count:>10,} {name}")
    seconds = time.perf_counter() - begun
    verdict = "everything was read" if chosen.no_mask else "every header is well-formed"
    print(f"{seconds:.1f} s, {seconds / counts['tokens'] * 1e3:.2f} ms a token; {verdict}")


if __name__ == "__main__":
    main()
