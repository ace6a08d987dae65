"""Generations at a high temperature, with and without the header mask.

    cd tests && python -m fuzz.generation demo --generations 10000
    cd tests && python -m fuzz.generation random:tiny --generations 10000
    cd tests && python -m fuzz.generation demo --generations 10000 --no-mask

With the mask no header may be malformed and no tool be named that was not offered. Without it the
parser must still read everything. Contents are ended after a few tokens, so that a generation is
mostly headers. Each prompt is continued several times; prompt, tools and rules are drawn anew for
each. On a CPU weights become float32, which it multiplies faster than what a checkpoint stores.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from ossia.api.runtime import Runtime
from ossia.engine.config import EngineConfig
from ossia.harmony import (
    Channel,
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
_REQUESTS_QUEUED = 16


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
    """Assert that what was written under the mask keeps the rules, to the last token.

    A message that `max_tokens` cut off in its content counts; of a header that was cut off, what is
    there must be how an allowed one begins.
    """
    end = len(tokens)
    if special.MESSAGE not in tokens[_last_end(tokens) :]:
        end = _last_end(tokens)
    opening = f"{special.SPECIAL_TOKENS[special.START]}{Role.ASSISTANT}"
    begun = tokenizer.decode(tokens[end:])
    written = {opening + tokenizer.decode(ids) for ids in _allowed_ids(tokenizer, rules)}
    begun = begun if end else opening + begun  # the prompt has said so before the first header
    assert any(header.startswith(begun) for header in written), begun
    allowed = {_header_of(tokenizer, ids) for ids in _allowed_ids(tokenizer, rules)}
    whole = tokens[:end]
    if whole:
        for message in parse_messages(tokenizer, whole, Role.ASSISTANT, strict=True):
            assert (message.channel, message.recipient, message.content_type) in allowed, message
            _check_recipient(message, rules)


def _check_recipient(message: Message, rules: HeaderRules) -> None:
    """The same of what matters most, without the code that made the mask."""
    offered = {*rules.functions, *rules.builtin_tools}
    if rules.tool_choice not in ("auto", "required"):
        offered &= {rules.tool_choice}
    assert message.recipient is None or message.recipient in offered, message
    if rules.tool_choice not in ("auto", "none"):
        assert message.channel != Channel.FINAL, message
    if rules.final_only:
        assert message.channel == Channel.FINAL, message


def _last_end(tokens: list[int]) -> int:
    """Where the last message that was ended is over."""
    ends = [place for place, token in enumerate(tokens) if token in special.STOP_TOKENS]
    return ends[-1] + 1 if ends else 0


def _allowed_ids(tokenizer: Tokenizer, rules: HeaderRules) -> Iterator[list[int]]:
    for form in header_forms(rules):
        yield [
            token
            for piece in form.pieces
            for token in ([piece] if isinstance(piece, int) else tokenizer.encode(piece))
        ]


def _header_of(tokenizer: Tokenizer, ids: list[int]) -> tuple[str | None, str | None, str | None]:
    (message,) = parse_messages(tokenizer, ids, Role.ASSISTANT, strict=True)
    return message.channel, message.recipient, message.content_type


def generate(
    runtime: Runtime, count: int, *, alike: int, masked: bool, max_tokens: int, seed: int
) -> Counter[str]:
    """Generate and check; counts what was met."""
    random, counts, tokenizer = Random(seed), Counter[str](), runtime.tokenizer
    renderer = Renderer(tokenizer)
    while counts["generations"] < count:
        rules: list[HeaderRules] = []
        requests: list[Request] = []
        wanted = count - counts["generations"]
        for number in range(min(_REQUESTS_QUEUED, -(-wanted // alike))):
            conversation = _conversation(random)
            rules.append(_rules(conversation, random))
            prompt = renderer.render_conversation_for_completion(conversation)
            requests.append(
                Request(
                    request_id=str(number),
                    prompt_ids=tuple(prompt),
                    sampling=SamplingParams(
                        temperature=1.5,
                        max_tokens=max_tokens,
                        stop_token_ids=tuple(special.ACTION_STOP_TOKENS),
                        n=min(alike, wanted - number * alike),
                        seed=random.getrandbits(32),
                    ),
                    make_mask=_mask_maker(HeaderGrammar(tokenizer, rules[-1])) if masked else None,
                )
            )
        counts["prompts"] += len(requests)
        for result, rule in zip(runtime.engine.generate(requests), rules, strict=True):
            for continuation in result.continuations:
                tokens = list(continuation.token_ids)
                _count(counts, tokenizer, tokens)
                if masked:
                    check(tokenizer, tokens, rule)
        print(f"{counts['generations']:,} so far, all as they should be", file=sys.stderr)
    return counts


def _mask_maker(grammar: HeaderGrammar) -> Callable[[int], TokenMask]:
    ends = sum(1 << token for token in special.STOP_TOKENS)
    return lambda _: ShortContents(HeaderMask(grammar), ends, 2)


def _count(counts: Counter[str], tokenizer: Tokenizer, tokens: list[int]) -> None:
    """Parse, and assert that nothing was lost."""
    account = follow(tokenizer, tokens, Role.ASSISTANT)
    messages = account.parser.messages
    counts.update({"generations": 1, "tokens": len(tokens), "messages": len(messages)})
    counts["calls"] += sum(message.recipient is not None for message in messages)
    counts.update(f"repair: {repair.kind}" for repair in account.parser.repairs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("--generations", type=int, default=10_000)
    options.add_argument("--alike", type=int, default=16, help="continuations of each prompt")
    options.add_argument("--max-tokens", type=int, default=24)
    options.add_argument("--no-mask", action="store_true")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    runtime = Runtime.load(
        chosen.model,
        dtype="float32" if chosen.device == "cpu" else "auto",
        device=chosen.device,
        config=EngineConfig(max_sequences=_SIDE_BY_SIDE, kv_cache_bytes=1 << 28),
    )
    begun = time.perf_counter()
    counts = generate(
        runtime,
        chosen.generations,
        alike=chosen.alike,
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
