"""Parameters of made-up functions, the way a request mentions each, and values for them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from demo.capitals import CAPITALS
from demo.dialogue import Split
from demo.facts import DAYS
from demo.splits import split_of
from demo.words import OWN_WORDS, any_word, name_of, plain_word, salad, vocabulary_words

Kind = Literal["string", "integer", "number", "boolean", "enum"]

TIME_WORDS = frozenset({"today", "tomorrow", "yesterday"})  # they are values, not names


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter and how its value is said: `phrases` have a `{v}` place."""

    name: str
    kind: Kind
    phrases: tuple[str, ...]
    values: str = "word"
    options: tuple[str, ...] = ()
    description: str = ""
    default: str = ""
    required: bool = True

    @property
    def words(self) -> str:
        """The name as words."""
        return words_of(self.name)

    def schema(self) -> dict[str, Any]:
        """JSON schema of this parameter."""
        schema: dict[str, Any] = {"type": "string" if self.kind == "enum" else self.kind}
        if self.description:
            schema["description"] = self.description
        if self.options:
            schema["enum"] = list(self.options)
        if self.default:
            schema["default"] = self.default
        return schema


# fmt: off
_TEXT = ("about {v}", "about '{v}'", 'about "{v}"', "with the text '{v}'", 'saying "{v}"', "saying '{v}'", "for '{v}'", "containing {v}")
CATALOGUE: tuple[Parameter, ...] = (
    Parameter("city", "string", ("in {v}", "in {v}", "for {v}", "for the city {v}"), "place", description="The city"),
    Parameter("city", "string", ("in {v}", "for {v}"), "place", description="Name of the city, e.g. Berlin"),
    Parameter("location", "string", ("in {v}", "in {v}", "for {v}", "at {v}"), "place", description="The city and state, e.g. San Francisco, CA"),
    Parameter("location", "string", ("in {v}", "for {v}"), "place"),
    Parameter("country", "string", ("in {v}", "of {v}", "for {v}"), "place"),
    Parameter("place", "string", ("in {v}", "at {v}", "near {v}"), "place"),
    Parameter("origin", "string", ("from {v}",), "place"),
    Parameter("destination", "string", ("to {v}",), "place"),
    Parameter("from_city", "string", ("from {v}",), "place"),
    Parameter("to_city", "string", ("to {v}",), "place"),
    Parameter("date", "string", ("on {v}", "for {v}"), "date"),
    Parameter("day", "string", ("on {v}", "for {v}"), "day"),
    Parameter("start_date", "string", ("starting {v}", "from {v}"), "date"),
    Parameter("end_date", "string", ("until {v}", "to {v}"), "date"),
    Parameter("time", "string", ("at {v}",), "time"),
    Parameter("days", "integer", ("for {v} days", "for the next {v} days"), "small", description="Number of days"),
    Parameter("nights", "integer", ("for {v} nights",), "small"),
    Parameter("people", "integer", ("for {v} people", "for {v}"), "small", description="How many people"),
    Parameter("guests", "integer", ("for {v} guests",), "small"),
    Parameter("minutes", "integer", ("for {v} minutes", "in {v} minutes"), "integer"),
    Parameter("limit", "integer", ("limited to {v}", "at most {v}", "with limit {v}", "up to {v} results"), "small"),
    Parameter("max_results", "integer", ("with at most {v} results", "up to {v} results"), "small"),
    Parameter("quantity", "integer", ("with quantity {v}", "{v} times"), "small"),
    Parameter("amount", "number", ("of {v} euros", "over {v}", "for {v} dollars"), "number"),
    Parameter("price", "number", ("for {v} euros", "at a price of {v}"), "number"),
    Parameter("email", "string", ("to {v}", "for {v}"), "email"),
    Parameter("recipient", "string", ("to {v}",), "person"),
    Parameter("to", "string", ("to {v}",), "email"),
    Parameter("name", "string", ("for {v}", "named {v}", "called {v}"), "person"),
    Parameter("user", "string", ("for {v}", "of {v}", "for user {v}"), "person"),
    Parameter("customer", "string", ("for {v}", "of customer {v}"), "person"),
    Parameter("person", "string", ("with {v}", "for {v}"), "person"),
    Parameter("author", "string", ("by {v}",), "person"),
    Parameter("artist", "string", ("by {v}",), "person"),
    Parameter("title", "string", ("titled '{v}'", 'titled "{v}"', "called {v}", "with the title {v}"), "text"),
    Parameter("query", "string", _TEXT, "text", description="What to search for"),
    Parameter("text", "string", _TEXT, "text"),
    Parameter("topic", "string", ("about {v}", "on {v}", "on the topic {v}"), "text"),
    Parameter("message", "string", ("saying '{v}'", 'saying "{v}"', "with the message '{v}'"), "text"),
    Parameter("keyword", "string", ("with the keyword {v}", "for {v}", "about {v}"), "word"),
    Parameter("product", "string", ("of {v}", "for {v}", "for the product {v}"), "text"),
    Parameter("symbol", "string", ("of {v}", "for {v}"), "symbol", description="Ticker symbol"),
    Parameter("ticker", "string", ("of {v}", "for {v}"), "symbol"),
    Parameter("id", "string", ("with id {v}", "number {v}", "{v}"), "code"),
    Parameter("order_id", "string", ("{v}", "number {v}", "for order {v}", "with id {v}"), "code"),
    Parameter("number", "integer", ("number {v}", "no. {v}"), "integer"),
    Parameter("color", "string", ("in {v}", "with color {v}"), "color"),
    Parameter("language", "string", ("in {v}", "into {v}", "to {v}"), "language"),
    Parameter("unit", "enum", ("in {v}", "with unit {v}"), options=("celsius", "fahrenheit")),
    Parameter("unit", "enum", ("in {v}",), options=("celsius", "fahrenheit"), default="celsius"),
    Parameter("units", "enum", ("in {v} units", "in {v}"), options=("metric", "imperial")),
    Parameter("format", "enum", ("as {v}", "in {v} format"), options=("pdf", "csv", "json")),
    Parameter("format", "enum", ("in {v}",), options=("celsius", "fahrenheit"), default="celsius"),
    Parameter("priority", "enum", ("with {v} priority", "with priority {v}"), options=("low", "medium", "high")),
    Parameter("size", "enum", ("in size {v}", "in {v}"), options=("small", "medium", "large")),
    Parameter("status", "enum", ("with status {v}", "that are {v}"), options=("open", "closed", "pending")),
    Parameter("order", "enum", ("in {v} order", "sorted {v}"), options=("ascending", "descending")),
    Parameter("currency", "enum", ("in {v}",), options=("EUR", "USD", "GBP")),
    Parameter("class", "enum", ("in {v} class", "{v} class"), options=("economy", "business", "first")),
)
_GENERIC = ("with {w} {v}", "with {w} {v}", "and {w} {v}", "{w}: {v}", "{w} = {v}", "with the {w} {v}", "where {w} is {v}", "and {w} set to {v}", "with {w} set to {v}")
_SWITCH_NAMES = ("urgent", "verbose", "recursive", "silent", "public", "private", "repeat", "detailed", "alerts", "breakfast", "insurance", "parking", "details", "images", "subtitles")
_LANGUAGES = ("English", "German", "French", "Spanish", "Italian", "Dutch", "Polish", "Swedish", "Danish", "Finnish", "Turkish", "Greek", "Japanese", "Korean", "Chinese", "Portuguese", "Czech")
_COLORS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "pink", "brown", "grey", "silver", "gold", "turquoise")
_CITIES = (*CAPITALS.values(), "New York", "San Francisco", "Los Angeles", "Chicago", "Boston", "Seattle", "Munich", "Hamburg", "Milan", "Barcelona", "Sydney", "Toronto", "Mumbai", "Lyon", "Geneva", "Zurich", "Kyoto", "Osaka")
# fmt: on


def words_of(name: str) -> str:
    """An identifier as lower-case words."""
    spread = "".join(f" {c.lower()}" if c.isupper() and idx else c for idx, c in enumerate(name))
    return spread.replace("_", " ").replace("-", " ").lower()


def varied(rng: Random, item: Parameter, required: bool) -> Parameter:
    """The same parameter, required or not, with some description or none."""
    description = _description(rng, item)
    return Parameter(
        item.name,
        item.kind,
        item.phrases,
        item.values,
        item.options,
        description,
        item.default,
        required,
    )


def generic(rng: Random, split: Split) -> Parameter:
    """A parameter of any name; requests name it."""
    while True:
        name = rng.choice(OWN_WORDS) if rng.random() < 0.4 else rng.choice(vocabulary_words())
        if split_of(name) == split and name not in TIME_WORDS:
            break
    if rng.random() < 0.2:
        return _switch(rng, rng.choice(_SWITCH_NAMES) if rng.random() < 0.6 else name)
    if rng.random() < 0.25:
        other = rng.choice(("name", "id", "type", "count", "code", "level"))
        name = f"{name}_{other}" if rng.random() < 0.6 else f"{name}{other.capitalize()}"
    phrases = tuple(phrase.replace("{w}", words_of(name)) for phrase in rng.sample(_GENERIC, 3))
    kind = rng.choice(("string", "string", "string", "integer", "number", "enum"))
    if kind == "enum":
        options = tuple(dict.fromkeys(plain_word(rng) for _ in range(rng.randint(2, 4))))
        return Parameter(name, "enum", phrases, options=options)
    values = {"integer": "integer", "number": "number"}.get(kind) or rng.choice(
        ("word", "text", "place", "person", "code")
    )
    return Parameter(name, kind, phrases, values)


def _switch(rng: Random, name: str) -> Parameter:
    """A boolean; its phrases say yes or no."""
    forms = [
        (f"{name} on", f"{name} off"),
        (f"{name}: yes", f"{name}: no"),
        (f"{name} true", f"{name} false"),
    ]
    if name in _SWITCH_NAMES:
        forms += [(f"with {name}", f"without {name}")] * 2
    phrases = rng.choice(forms)
    return Parameter(name, "boolean", phrases)


def value_of(rng: Random, item: Parameter) -> str:
    """A value for a parameter as a user writes it (for a boolean: the word JSON uses)."""
    if item.kind == "enum":
        return rng.choice(item.options)
    if item.kind == "boolean":
        return rng.choice(("true", "false"))
    return plain_value(rng, item.values)


def plain_value(rng: Random, kind: str) -> str:
    """A value of one of the kinds that parameters and results have."""
    makers = {
        "place": lambda: rng.choice(_CITIES) if rng.random() < 0.5 else name_of(rng),
        "person": lambda: name_of(rng) if rng.random() < 0.6 else f"{name_of(rng)} {name_of(rng)}",
        "date": lambda: (
            f"{rng.randint(2023, 2031)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
            if rng.random() < 0.6
            else rng.choice((*DAYS, "tomorrow", "today"))
        ),
        "day": lambda: rng.choice((*DAYS, "tomorrow", "today")),
        "time": lambda: f"{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 45)):02}",
        "small": lambda: str(rng.randint(2, 30)),
        "integer": lambda: str(
            rng.choice((rng.randint(0, 99), rng.randint(0, 999), rng.randint(0, 99_999)))
        ),
        "number": lambda: (
            str(rng.randint(1, 999))
            if rng.random() < 0.6
            else f"{rng.randint(0, 999)}.{rng.randint(1, 99)}"
        ),
        "email": lambda: (
            f"{any_word(rng)}@{plain_word(rng)}.{rng.choice(('com', 'org', 'net', 'de'))}"
        ),
        "symbol": lambda: "".join(
            rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(2, 4))
        ),
        "code": lambda: (
            f"{rng.choice('ABCDEFGHKMNPRSTX')}{rng.choice('ABCDEFGHKMNPRSTX')}-{rng.randint(1, 9999)}"
            if rng.random() < 0.5
            else str(rng.randint(1, 99_999))
        ),
        "color": lambda: rng.choice(_COLORS),
        "language": lambda: rng.choice(_LANGUAGES),
        "text": lambda: " ".join([plain_word(rng) for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]),
        "word": lambda: plain_word(rng) if rng.random() < 0.6 else any_word(rng),
    }
    return makers[kind]()


def _description(rng: Random, item: Parameter) -> str:
    chance = rng.random()
    if chance < 0.3:
        return ""
    if chance < 0.38:
        return f"{salad(rng, 2, 7).capitalize()} {item.words}"
    return item.description or rng.choice(
        (
            f"The {item.words}",
            f"The {item.words} to use",
            f"What {item.words}",
            f"The {item.words} of it.",
        )
    )
