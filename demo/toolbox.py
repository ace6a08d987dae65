"""Made-up functions: their names, what they are called in requests, and how harmony declares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from demo.dialogue import Split
from demo.parameters import CATALOGUE, TIME_WORDS, Kind, Parameter, generic, varied
from demo.splits import split_of
from demo.words import OWN_WORDS, pseudo_word, salad, vocabulary_words

# fmt: off
VERBS = (
    "get", "get", "get", "find", "fetch", "search", "lookup", "list", "show", "read", "check", "create", "add", "make", "book", "order", "send", "delete", "remove",
    "cancel", "update", "set", "start", "stop", "open", "close", "move", "copy", "rename", "convert", "calculate", "translate", "play", "schedule", "buy",
    "sell", "print", "save", "load", "export", "import", "share", "assign", "approve", "verify", "track", "rate", "reserve", "query", "compute", "plan", "draw", "upload",
)
_NOUNS = (
    "weather", "forecast", "temperature", "table", "flight", "hotel", "train", "ticket", "order", "invoice", "customer", "user", "account", "balance", "payment", "stock",
    "price", "exchange_rate", "product", "recipe", "meeting", "event", "reminder", "alarm", "timer", "email", "message", "contact", "note", "task", "calendar", "file", "folder",
    "document", "report", "song", "playlist", "movie", "book", "article", "news", "route", "distance", "map", "restaurant", "shipment", "package", "review", "score", "match",
    "light", "thermostat", "camera", "sensor", "door", "room", "car", "taxi", "bike", "appointment", "doctor", "prescription", "course", "student", "grade", "exam", "password",
    "server", "log", "backup", "database", "branch", "issue", "pull_request", "build", "job", "holiday", "time_zone", "language", "word", "definition", "currency", "loan", "tax",
    "budget", "expense", "salary", "employee", "team", "project", "photo", "video", "poem", "joke", "quote", "horoscope", "tide", "sunrise", "air_quality", "traffic", "parking",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Tool:
    """A function: what it is called, and the verb and noun that a request uses for it."""

    name: str
    verb: str
    noun: str
    description: str
    parameters: tuple[Parameter, ...]

    def schema(self) -> dict[str, Any] | None:
        """JSON schema of the arguments; None for a function without any."""
        if not self.parameters:
            return None
        return {
            "type": "object",
            "properties": {item.name: item.schema() for item in self.parameters},
            "required": [item.name for item in self.parameters if item.required],
        }

    def typescript(self) -> str:
        """The declaration as harmony shows it to the model."""
        head = f"// {self.description}\ntype {self.name} = "
        if not self.parameters:
            return f"{head}() => any;\n\n"
        lines: list[str] = []
        for item in self.parameters:
            if item.description:
                lines.append(f"// {item.description}\n")
            kind = (
                " | ".join(f'"{o}"' for o in item.options)
                if item.options
                else item.kind.replace("integer", "number")
            )
            default = f" // default: {item.default}" if item.default else ""
            lines.append(f"{item.name}{'' if item.required else '?'}: {kind},{default}\n")
        return f"{head}(_: {{\n{''.join(lines)}}}) => any;\n\n"


def toolset(rng: Random, split: Split, at_most: int = 6, everyday: bool = False) -> list[Tool]:
    """Tools with different names; some share a verb or a noun so that both must be read.

    Args:
        rng: Source of chance.
        split: Which side their names come from.
        at_most: How many.
        everyday: Only English nouns and usual parameters, not words of any language.
    """
    tools: list[Tool] = []
    for _ in range(rng.randint(1, at_most)):
        kin = rng.choice(tools) if tools and rng.random() < 0.3 else None
        noun, verb = noun_of(rng, split, everyday), rng.choice(VERBS)
        if kin is not None:
            noun, verb = (
                (kin.noun.replace(" ", "_"), verb) if rng.random() < 0.6 else (noun, kin.verb)
            )
        tool = make_tool(rng, split, verb, noun, everyday)
        if all(
            (tool.name != other.name) and (tool.verb, tool.noun) != (other.verb, other.noun)
            for other in tools
        ):
            tools.append(tool)
    return tools


def noun_of(rng: Random, split: Split, everyday: bool) -> str:
    """What a tool is about; snake_case where it has two words."""
    while True:
        chance = rng.random() * (0.5 if everyday else 1.0)
        if chance < 0.28:
            noun = rng.choice(_NOUNS)
        elif chance < 0.5:
            noun = rng.choice(OWN_WORDS)
        elif chance < 0.86:
            noun = rng.choice(vocabulary_words())
        else:
            noun = pseudo_word(rng, rng.choice((2, 3)))
        if rng.random() < 0.15:
            noun = f"{noun}_{rng.choice(_NOUNS)}"
        if split_of(noun) == split and noun not in TIME_WORDS:
            return noun


def make_tool(rng: Random, split: Split, verb: str, noun: str, everyday: bool) -> Tool:
    """A tool for a verb and a noun, named in one of the usual styles."""
    camel = "".join(part.capitalize() for part in noun.split("_"))
    styles = (
        f"{verb}_{noun}",
        f"{verb}_{noun}",
        f"{verb}_{noun}",
        f"{verb}{camel}",
        f"{noun}_{verb}",
        f"{verb}_current_{noun}",
        noun,
        f"{verb.capitalize()}{camel}",
    )
    words = noun.replace("_", " ")
    descriptions = (
        f"{verb.capitalize()} the {words}.",
        f"{verb.capitalize()} {words}",
        f"{verb.capitalize()}s the {words}",
        f"{verb.capitalize()} a {words} for the user.",
        f"Use this to {verb} the {words}.",
        f"{verb.capitalize()} the current {words} of something",
        f"A function to {verb} {words}: {salad(rng, 1, 6)}",
    )
    return Tool(
        rng.choice(styles), verb, words, rng.choice(descriptions), _parameters(rng, split, everyday)
    )


def _parameters(rng: Random, split: Split, everyday: bool) -> tuple[Parameter, ...]:
    chosen: list[Parameter] = []
    heads: set[tuple[Kind, str]] = set()
    for idx in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 4))):
        item = rng.choice(CATALOGUE) if everyday or rng.random() < 0.72 else generic(rng, split)
        # Two strings behind the same preposition could not be told apart; options can.
        own_heads = (
            set()
            if item.kind == "enum"
            else {(item.kind, p.split("{v}")[0].strip()) for p in item.phrases}
        )
        if own_heads & heads or any(item.name == other.name for other in chosen):
            continue
        heads |= own_heads
        required = not item.default and rng.random() < (0.9 if idx == 0 else 0.5)
        chosen.append(varied(rng, item, required))
    # Signatures usually list what is required first, yet not always.
    return tuple(
        chosen if rng.random() < 0.2 else sorted(chosen, key=lambda item: not item.required)
    )


def tools_section(tools: Sequence[Tool]) -> str:
    """The developer message's part that declares functions."""
    body = "".join(tool.typescript() for tool in tools)
    return f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{body}}} // namespace functions"
