"""What shows each intended difference, and the document that lists them all.

    cd tests && python -m support.harmony_differences

writes docs/harmony_differences.md anew.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from textwrap import wrap
from typing import Any

import openai_harmony

from ossia.errors import HarmonyError
from ossia.harmony import (
    Conversation,
    DeveloperContent,
    Message,
    Renderer,
    Role,
    ToolDescription,
)
from ossia.harmony.differences import INTENDED_DIFFERENCES, Difference
from ossia.tokenizer import Tokenizer
from support.harmony_oracle import Oracle
from support.vocabulary import write_tiktoken_files

DOCUMENT = Path(__file__).parents[2] / "docs" / "harmony_differences.md"


def tool_message(
    schema: dict[str, Any], *, name: str = "f", description: str = "d"
) -> list[Message]:
    parameters = {"type": "object", "properties": {"a": schema}}
    content = DeveloperContent().with_function_tools(
        [ToolDescription(name, description, parameters)]
    )
    return [Message.from_role_and_content(Role.DEVELOPER, content)]


def say(channel: str, text: str = "x") -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel(channel)


USER = Message.from_role_and_content(Role.USER, "?")

CASES: dict[str, tuple[Difference, list[Message]]] = {
    "reasoning of the second turn": (
        Difference.OLD_REASONING,
        [USER, say("analysis"), say("final"), USER, say("analysis"), say("final"), USER],
    ),
    "reasoning of an old turn while tools run": (
        Difference.OLD_REASONING,
        [USER, say("analysis"), say("final"), USER, say("commentary").with_recipient("f")],
    ),
    "a value listed twice": (
        Difference.UNTYPED_SCHEMAS,
        tool_message({"type": "string", "enum": ["a", "a"]}),
    ),
    "anyOf": (
        Difference.UNTYPED_SCHEMAS,
        tool_message({"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ),
    "allOf": (Difference.UNTYPED_SCHEMAS, tool_message({"allOf": [{"type": "string"}]})),
    "$ref": (
        Difference.UNTYPED_SCHEMAS,
        tool_message({"$ref": "#/properties/a/$defs/x", "$defs": {"x": {"type": "string"}}}),
    ),
    "const": (Difference.UNTYPED_SCHEMAS, tool_message({"const": 5})),
    "bare enum": (Difference.UNTYPED_SCHEMAS, tool_message({"enum": ["x", 1]})),
    "enum of integers": (
        Difference.UNTYPED_SCHEMAS,
        tool_message({"type": "integer", "enum": [1, 2]}),
    ),
    "null in an enum": (
        Difference.UNTYPED_SCHEMAS,
        tool_message({"type": "string", "enum": ["x", None]}),
    ),
    "type null": (Difference.UNTYPED_SCHEMAS, tool_message({"type": "null"})),
    "properties without type": (Difference.UNTYPED_SCHEMAS, tool_message({"properties": {}})),
    "items of a list of types": (
        Difference.UNTYPED_SCHEMAS,
        tool_message({"type": ["array", "null"], "items": {"type": "string"}}),
    ),
    "quote in an enum": (
        Difference.LITERALS,
        tool_message({"type": "string", "enum": ['a" | "b']}),
    ),
    "line break in a default": (
        Difference.LITERALS,
        tool_message({"type": "string", "default": "x\n} // namespace functions"}),
    ),
    "example that is a number": (
        Difference.LITERALS,
        tool_message({"type": "number", "examples": [1.5]}),
    ),
    "array of a union": (
        Difference.ARRAY_OF_UNION,
        tool_message({"type": "array", "items": {"type": ["string", "number"]}}),
    ),
    "array of nullable items": (
        Difference.ARRAY_OF_UNION,
        tool_message({"type": "array", "items": {"type": "string", "nullable": True}}),
    ),
    "nullable enum that holds the word null": (
        Difference.NULLABLE,
        tool_message({"type": "string", "enum": ["nullable"], "nullable": True}),
    ),
    "description of a nested object": (
        Difference.REPEATED_DESCRIPTIONS,
        tool_message({"type": "object", "description": "inner", "properties": {}}),
    ),
    "description shared with the first alternative": (
        Difference.REPEATED_DESCRIPTIONS,
        tool_message({"description": "x", "oneOf": [{"type": "string", "description": "x"}]}),
    ),
    "description of several lines": (
        Difference.LINE_BREAKS,
        tool_message({"type": "string", "description": "one\n}) => any;"}),
    ),
    "description broken by another character": (
        Difference.LINE_BREAKS,
        tool_message({"type": "string"}, description="one\u2028type g = () => any;"),
    ),
    "property name with a space": (
        Difference.NAMES,
        [
            Message.from_role_and_content(
                Role.DEVELOPER,
                DeveloperContent().with_function_tools(
                    [
                        ToolDescription(
                            "f",
                            "d",
                            {"type": "object", "properties": {"a: any,\n b": {"type": "string"}}},
                        )
                    ]
                ),
            )
        ],
    ),
}


_OPENING = """\
# Where Ossia renders otherwise than openai_harmony

Ossia writes a conversation token for token as the `openai_harmony` package (0.0.8) does, except for
what stands here. Each difference has a name. To have it the library's way, name it:

```python
from ossia.harmony import load_harmony_encoding
from ossia.harmony.differences import Difference

encoding = load_harmony_encoding("HarmonyGptOss", as_library=frozenset({Difference.OLD_REASONING}))
```

```
ossia render chat.json --as-library old-reasoning --as-library names
ossia render chat.json --as-library all
```

In the examples, `-` is a line that the library writes, `+` one that Ossia writes.
"""

_READING = """
## Reading

The library raises on malformed output, or misreads it; [harmony_recovery.md](harmony_recovery.md)
says what Ossia makes of each case. Under the library's names (`StreamableParser`,
`parse_messages_from_completion_tokens`) parsing is strict unless `strict=False` is passed, and a
message without a channel stays without. Four headers that the library reads as something else are
read as they are meant in strict parsing, too, and there is no switch: a content type without a
recipient (`final <|constrain|>json`, `commentary json`) is no recipient, `<|constrain|> json` with a
space is one content type, a header may name its recipient before or behind the channel, and the
author of a tool's message that names no recipient is a tool.
"""


def document(oracle: Oracle, renderer: Renderer) -> str:
    """The list with an example of each case; `docs/harmony_differences.md` is this text."""
    parts = [_OPENING]
    for difference, reason in INTENDED_DIFFERENCES.items():
        parts.append(f"\n## {difference.words}\n\n{_wrapped(reason)}\n")
        for name, (shown, messages) in CASES.items():
            if shown is difference:
                lines = "\n".join(_diff(oracle, renderer, messages))
                parts.append(f"\nFor {name}:\n\n```diff\n{lines}\n```\n")
    return "".join([*parts, _READING])


def _diff(oracle: Oracle, renderer: Renderer, messages: list[Message]) -> Iterator[str]:
    conversation = Conversation(messages)
    theirs = oracle.text(oracle.render(messages, "completion"))
    try:
        ours = oracle.text(renderer.render_conversation_for_completion(conversation))
    except HarmonyError as error:
        ours = f"({error})"
    before, after = (_lines(text) for text in (theirs, ours))
    for line in unified_diff(before, after, n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield line


def _lines(text: str) -> list[str]:
    """One message a line at least; what breaks lines in an odd way is shown by its number."""
    parted = text.replace("<|start|>", "\n<|start|>").split("\n")
    return ["".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line) for line in parted]


def _wrapped(text: str) -> str:
    return "\n".join(wrap(text, 100, break_long_words=False))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_tiktoken_files(Path(folder))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
        library = Oracle(openai_harmony.load_harmony_encoding("HarmonyGptOss"))
    written = document(library, Renderer(Tokenizer.o200k_harmony()))
    DOCUMENT.write_text(written, encoding="utf-8")
