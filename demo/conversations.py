"""Training examples: a header, earlier turns, and one reply to learn, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from demo.dialogue import EFFORTS, Effort, Reply, Split, Step, ToolSays, UserSays
from demo.prompts import Header, header
from demo.tasks import arithmetic, calling, counting, facts, fallback, smalltalk
from demo.text import decode, encode, encode_fresh
from demo.toolbox import Tool, toolset
from ossia.tokenizer import special

Kind = Literal[
    "counting", "arithmetic", "facts", "smalltalk", "fallback", "calling", "unfitting", "idle tools"
]

_WEIGHTS: dict[Kind, int] = {
    "counting": 12, "arithmetic": 12, "facts": 6, "smalltalk": 3, "fallback": 6, "calling": 52, "unfitting": 6, "idle tools": 3,
}  # fmt: skip
_CALLS_TO_RESULTS = 3  # choosing a tool and its arguments is far harder than passing on a result
_PLAIN = (
    counting.dialogue,
    arithmetic.dialogue,
    facts.dialogue,
    smalltalk.dialogue,
    fallback.dialogue,
)
_PLAIN_WEIGHTS = (3, 3, 2, 1, 1)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue up to the reply that is asked for last.

    Args:
        header: What comes before the dialogue.
        tools: The functions that the header declares.
        steps: The last one is to be replied to, the earlier ones are history.
    """

    header: Header
    tools: Sequence[Tool]
    steps: Sequence[Step]

    def prompt_ids(self, keep_call_analysis: bool = True) -> list[int]:
        """Everything up to where the assistant's turn begins, `<|start|>assistant` included."""
        ids: list[int] = []
        if self.header.system is not None:
            ids += _message("system", self.header.system)
        if self.header.developer is not None:
            ids += _message("developer", self.header.developer)
        last = len(self.steps) - 1
        for idx, step in enumerate(self.steps):
            ids += _prompt(step.prompt)
            if idx < last:
                running = idx == last - 1 and isinstance(self.steps[last].prompt, ToolSays)
                ids += _history(step.reply(self.header.effort), running and keep_call_analysis)
        return [*ids, special.START, *encode("assistant")]

    def reply(self) -> Reply:
        """The right reply to the last step."""
        return self.steps[-1].reply(self.header.effort)

    def reply_ids(self) -> list[int]:
        """The right reply in the tokens that the model is to produce, the last stop included."""
        reply = self.reply()
        ids = [special.CHANNEL, *encode("analysis"), special.MESSAGE, *reply.analysis, special.END]
        ids += [special.START, *encode("assistant")]
        if reply.call is not None:
            ids += [
                *encode(" to=functions"),
                *reply.call.name_ids,
                special.CHANNEL,
                *encode("commentary "),
                special.CONSTRAIN,
            ]
            return [*ids, *encode("json"), special.MESSAGE, *reply.call.arguments_ids, special.CALL]
        assert reply.final is not None
        return [
            *ids,
            special.CHANNEL,
            *encode("final"),
            special.MESSAGE,
            *reply.final,
            special.RETURN,
        ]


def example(rng: Random, split: Split = "train") -> tuple[list[int], int]:
    """A random training example: its ids, and how many of them are prompt."""
    conversation = random_conversation(rng, split)
    prompt = conversation.prompt_ids(keep_call_analysis=rng.random() < 0.85)
    reply = conversation.reply_ids()
    if conversation.steps[-1].task in ("facts", "smalltalk", "fallback") and rng.random() < 0.03:
        # Front ends that switch reasoning off begin the final message themselves.
        opening = [special.CHANNEL, *encode("final"), special.MESSAGE]
        final = conversation.reply().final
        assert final is not None
        return [*prompt, *opening, *final, special.RETURN], len(prompt) + len(opening)
    return prompt + reply, len(prompt)


def random_conversation(
    rng: Random, split: Split, kind: Kind | None = None, effort: Effort | None = None
) -> Conversation:
    """A conversation of a kind, with a random header and at times earlier turns."""
    kind = kind or rng.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
    tools, steps = _steps_of(rng, split, kind)
    steps = steps[: _replied_to(rng, steps)]
    while rng.random() < 0.16 and len(steps) < 5:
        earlier = rng.choices(_PLAIN, weights=_PLAIN_WEIGHTS)[0](rng, split)
        steps = [*earlier[: rng.randint(1, len(earlier))], *steps]
    return Conversation(header(rng, tools, effort or rng.choice(EFFORTS)), tools, steps)


def _replied_to(rng: Random, steps: Sequence[Step]) -> int:
    """Number of the step that is replied to, counted from 1; it is the last that is shown."""
    if any(step.task == "call" for step in steps):
        weights = [_CALLS_TO_RESULTS if step.task == "call" else 1 for step in steps]
        return rng.choices(range(1, len(steps) + 1), weights=weights)[0]
    # Later steps are where follow-ups are learned.
    return len(steps) if rng.random() < 0.5 else rng.randint(1, len(steps))


def _steps_of(rng: Random, split: Split, kind: Kind) -> tuple[list[Tool], list[Step]]:
    if kind == "calling":
        return calling.dialogue(rng, split)
    if kind == "unfitting":
        return calling.unfitting(rng, split)
    if kind == "idle tools":
        plain = rng.choices(_PLAIN[:4], weights=_PLAIN_WEIGHTS[:4])[0]
        return toolset(rng, split), plain(rng, split)
    plain_kinds = dict(
        zip(("counting", "arithmetic", "facts", "smalltalk", "fallback"), _PLAIN, strict=True)
    )
    return [], plain_kinds[kind](rng, split)


def _message(role: str, text: str) -> list[int]:
    return [special.START, *encode(role), special.MESSAGE, *encode_fresh(text), special.END]


def _prompt(prompt: UserSays | ToolSays) -> list[int]:
    if isinstance(prompt, UserSays):
        return [special.START, *encode("user"), special.MESSAGE, *prompt.ids, special.END]
    header_ids = encode(f"functions.{prompt.name} to=assistant")
    return [
        special.START,
        *header_ids,
        special.CHANNEL,
        *encode("commentary"),
        special.MESSAGE,
        *prompt.ids,
        special.END,
    ]


def _history(reply: Reply, with_analysis: bool) -> list[int]:
    """An earlier reply as it is shown again: tokenized from its text, reasoning mostly dropped."""
    if reply.call is None:
        assert reply.final is not None
        return [
            special.START,
            *encode("assistant"),
            special.CHANNEL,
            *encode("final"),
            special.MESSAGE,
            *encode_fresh(decode(reply.final)),
            special.END,
        ]
    ids: list[int] = []
    if with_analysis:
        ids = [
            special.START,
            *encode("assistant"),
            special.CHANNEL,
            *encode("analysis"),
            special.MESSAGE,
            *encode_fresh(decode(reply.analysis)),
            special.END,
        ]
    ids += [
        special.START,
        *encode(f"assistant to=functions.{reply.call.name}"),
        special.CHANNEL,
        *encode("commentary "),
        special.CONSTRAIN,
    ]
    return [
        *ids,
        *encode("json"),
        special.MESSAGE,
        *encode_fresh(decode(reply.call.arguments_ids)),
        special.CALL,
    ]
