"""Schemas at random, texts drawn under them at a high temperature, and a validator as the judge.

    cd tests && python -m fuzz.structured random:tiny --schemas 500
    cd tests && python -m fuzz.structured demo --schemas 500 --seed 2

Each turn is held to one schema: a third are for the answer, a third for the arguments of a function
that must be called, a third for those of whichever of some functions is called. Every text that was finished has
to fulfil its schema, and every turn that had to call has to end in a call of what was offered. What
ends strings and messages is made likelier, or else most texts would never end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from ossia.api.runtime import Runtime
from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.engine.config import EngineConfig
from ossia.engine.results import Continuation
from ossia.errors import RequestError
from ossia.harmony import (
    Channel,
    Conversation,
    DeveloperContent,
    HeaderRules,
    Message,
    Renderer,
    Role,
    SystemContent,
    ToolDescription,
    parse_messages,
)
from ossia.structured import Grammar
from ossia.tokenizer import Tokenizer, special
from ossia.types import FinishReason, Request, SamplingParams
from support.schemas import Schema, complaint, random_object, random_schema

_SIDE_BY_SIDE = 32
_TEMPERATURE = 1.5


@dataclass
class Case:
    """Schemas by what they are for, and which of them a turn has to keep to."""

    schemas: dict[str, Schema]
    tool_choice: str

    @property
    def rules(self) -> HeaderRules:
        functions = tuple(name for name in self.schemas if name != "final")
        return HeaderRules(functions=functions, tool_choice=self.tool_choice, reasoning=False)

    def request(self, number: int, runtime: Runtime, sampling: SamplingParams) -> Request:
        developer = DeveloperContent("Answer in JSON.")
        functions = [
            ToolDescription(name.removeprefix("functions."), "Does it.")
            for name in self.rules.functions
        ]
        if functions:
            developer.with_function_tools(functions)
        conversation = Conversation(
            [
                Message.from_role_and_content(Role.SYSTEM, SystemContent()),
                Message.from_role_and_content(Role.DEVELOPER, developer),
                Message.from_role_and_content(Role.USER, "Now."),
            ]
        )
        grammars = {name: Grammar.json_schema(schema) for name, schema in self.schemas.items()}
        masks = BoundMasks(TurnMasks(rules=self.rules, grammars=grammars), runtime.tokenizer)
        masks.prepare()
        prompt = Renderer(runtime.tokenizer).render_conversation_for_completion(conversation)
        return Request(
            request_id=str(number), prompt_ids=tuple(prompt), sampling=sampling, make_mask=masks
        )


@dataclass
class Found:
    """What came of it."""

    counts: Counter[str] = field(default_factory=Counter[str])
    keywords: set[str] = field(default_factory=set[str])
    wrong: list[str] = field(default_factory=list[str])
    refused: Counter[str] = field(default_factory=Counter[str])


def random_case(random: Random, keywords: set[str]) -> Case:
    kind = random.choice(["answer", "named", "required"])
    if kind == "answer":
        return Case({"final": random_schema(random, keywords)}, "none")
    names = [f"functions.f{number}" for number in range(random.randint(1, 3))]
    schemas = {name: random_object(random, keywords) for name in names}
    return Case(schemas, random.choice(names) if kind == "named" else "required")


def endings(tokenizer: Tokenizer) -> dict[int, float]:
    """A bias for what closes strings, arrays, objects and messages."""
    closing = ['"', '",', '"}', '"]', "}", "]", '"}}', '"]}', "]}", "}}"]
    bias = {tokenizer.encode(text)[0]: 15.0 for text in closing} | {
        tokenizer.encode("null")[0]: 4.0
    }
    return bias | {special.RETURN: 16.0, special.CALL: 16.0}


def judge(case: Case, tokenizer: Tokenizer, one: Continuation, found: Found) -> None:
    """Count what a continuation is, and note what is wrong with it."""
    if one.finish_reason is not FinishReason.STOP:
        found.counts[f"not finished: {one.finish_reason}"] += 1
        if one.finish_reason is FinishReason.ERROR:
            found.wrong.append(f"{one.error}: {case}")
        return
    found.counts["finished"] += 1
    try:
        *before, message = parse_messages(tokenizer, one.token_ids, Role.ASSISTANT, strict=True)
    except Exception as error:
        found.wrong.append(f"{error!r}: {case}")
        return
    subject = "final" if message.channel == Channel.FINAL else str(message.recipient)
    if case.rules.must_call:
        found.counts[f"{'named' if case.tool_choice != 'required' else 'required'} calls"] += 1
        right = subject == case.tool_choice or (
            case.tool_choice == "required" and subject in case.rules.functions
        )
        if not right or one.token_ids[-1] != special.CALL:
            found.wrong.append(f"{message} for {case}")
            return
    elif before or one.token_ids[-1] != special.RETURN:
        found.wrong.append(f"{before}, {message} for {case}")
    text = message.content[0].text
    found.counts["characters"] += len(text)
    if (problem := complaint(case.schemas[subject], text)) is not None:
        found.wrong.append(f"{problem}: {text!r} for {case.schemas[subject]}")


def run(runtime: Runtime, num_schemas: int, *, seed: int, max_tokens: int, alike: int) -> Found:
    """Draw cases, run them side by side and judge each."""
    random, found = Random(seed), Found()
    bias = endings(runtime.tokenizer)
    while found.counts["schemas"] < num_schemas:
        cases: list[Case] = []
        requests: list[Request] = []
        while len(requests) < _SIDE_BY_SIDE and found.counts["schemas"] < num_schemas:
            case = random_case(random, found.keywords)
            sampling = SamplingParams(
                temperature=_TEMPERATURE,
                max_tokens=max_tokens,
                logit_bias=bias,
                stop_token_ids=tuple(special.ACTION_STOP_TOKENS),
                seed=random.getrandbits(32),
                n=alike,
            )
            try:
                requests.append(case.request(len(requests), runtime, sampling))
            except RequestError as error:
                found.refused[str(error)] += 1
                continue
            cases.append(case)
            found.counts["schemas"] += 1
        for result, case in zip(runtime.engine.generate(requests), cases, strict=True):
            for one in result.continuations:
                found.counts["tokens"] += len(one.token_ids)
                judge(case, runtime.tokenizer, one, found)
        print(f"{dict(found.counts)}, {len(found.wrong)} wrong", file=sys.stderr)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("--schemas", type=int, default=500)
    options.add_argument("--max-tokens", type=int, default=400)
    options.add_argument("--alike", type=int, default=1, help="continuations of each request")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    runtime = Runtime.load(
        chosen.model,
        dtype="float32",
        config=EngineConfig(max_sequences=_SIDE_BY_SIDE, kv_cache_bytes=1 << 28),
    )
    begun = time.perf_counter()
    found = run(
        runtime,
        chosen.schemas,
        seed=chosen.seed,
        max_tokens=chosen.max_tokens,
        alike=chosen.alike,
    )
    seconds = time.perf_counter() - begun
    for name, count in sorted(found.counts.items()):
        print(f"{count:>10,} {name}")
    print(f"keywords: {' '.join(sorted(found.keywords))}")
    for complaint_, count in found.refused.items():
        print(f"{count:>10,} refused: {complaint_}")
    for one in found.wrong:
        print(f"WRONG {one}")
    print(f"{seconds:.0f} s; {len(found.wrong)} wrong")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
