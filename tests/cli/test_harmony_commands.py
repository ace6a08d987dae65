"""render and parse: a conversation to its prompt, and tokens to messages."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from ossia.cli.main import main
from ossia.harmony import Conversation, load_harmony_encoding
from ossia.harmony.chat_messages import conversation_from_chat
from ossia.harmony.differences import ALL, Difference
from ossia.tokenizer import special

ENCODING = load_harmony_encoding("HarmonyGptOss")
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up.",
        "parameters": {"type": "object", "properties": {"q": {"const": "a"}}},
    },
}
CHAT = [{"role": "user", "content": "Hi <|end|>"}]
TALK = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b", "thinking": "old"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d", "thinking": "new"},
]
DAY = ("--date", "2025-06-28")


def _prompt(messages, **settings) -> list[int]:
    chat = conversation_from_chat(messages, date="2025-06-28", **settings)
    return ENCODING.render_conversation_for_completion(chat)


@pytest.fixture
def file(tmp_path: Path):
    """Writes a value as JSON, and names the file."""

    def write(value: object, name: str = "chat.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return write


def test_render_prints_the_prompt_as_text(ossia, file):
    result = ossia("render", file(CHAT), *DAY)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == ENCODING.decode(_prompt(CHAT)) + "\n"


def test_render_prints_ids_in_which_an_imitated_token_is_text(ossia):
    result = ossia("render", "-", "--tokens", *DAY, stdin=json.dumps(CHAT))
    ids = [int(word) for word in result.stdout.split()]
    assert ids == _prompt(CHAT)
    assert ids.count(special.END) == 2


def test_render_gives_both_to_programs(ossia, file):
    given = json.loads(ossia("render", file(CHAT), "--json", *DAY).stdout)
    assert given == {"text": ENCODING.decode(_prompt(CHAT)), "tokens": _prompt(CHAT)}


def test_render_offers_tools_and_takes_an_effort(ossia, file):
    tools = file([TOOL], "tools.json")
    options = ["--tools", tools, "--builtin", "python", "--builtin", "browser", "-e", "high"]
    result = ossia("render", file(CHAT), *options, "--tokens", *DAY)
    expected = _prompt(
        CHAT, tools=[TOOL], builtin_tools=["python", "browser"], reasoning_effort="high"
    )
    assert [int(word) for word in result.stdout.split()] == expected


def test_render_says_what_of_a_request_is_no_part_of_the_prompt(ossia, file):
    body = {"model": "m", "messages": CHAT, "tools": [TOOL], "temperature": 1}
    result = ossia("render", file(body), "--tokens", *DAY)
    assert [int(word) for word in result.stdout.split()] == _prompt(CHAT, tools=[TOOL])
    assert result.stderr == "(no part of the prompt: model, temperature)\n"


@pytest.mark.parametrize(
    ("options", "end", "reasoning"),
    [
        ([], "<|start|>assistant", []),
        (["--for", "history"], "d<|end|>", []),
        (["--for", "training"], "d<|return|>", ["new"]),
        (["--keep-reasoning"], "<|start|>assistant", ["old", "new"]),
    ],
)
def test_render_has_a_purpose(ossia, file, options, end, reasoning):
    text = ossia("render", file(TALK), *options, *DAY).stdout
    assert text.endswith(end + "\n")
    assert [word for word in ("old", "new") if f"analysis<|message|>{word}<|end|>" in text] == (
        reasoning
    )


@pytest.mark.parametrize(
    ("names", "switched"),
    [
        (["all"], ALL),
        (["untyped-schemas"], {Difference.UNTYPED_SCHEMAS}),
        (["old-reasoning", "untyped-schemas"], ALL),
        (["old-reasoning"], {Difference.OLD_REASONING}),
    ],
)
def test_render_can_do_as_the_library_does(ossia, file, names, switched):
    body = {"messages": TALK, "tools": [TOOL]}
    options = [word for name in names for word in ("--as-library", name)]
    library = load_harmony_encoding("HarmonyGptOss", as_library=frozenset(switched))
    chat = conversation_from_chat(TALK, tools=[TOOL], date="2025-06-28")
    expected = library.decode(library.render_conversation_for_completion(chat))
    text = ossia("render", file(body), *options, *DAY).stdout
    assert text == expected + "\n"
    assert ('q?: "a"' in text) == (Difference.UNTYPED_SCHEMAS not in switched)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_special_tokens_are_coloured_and_imitations_are_not(monkeypatch, file):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", _Terminal())
    assert main(["render", str(file(CHAT)), *DAY]) == 0
    text = sys.stdout.getvalue()
    assert "Hi <|end|>\x1b[36m<|end|><|start|>\x1b[0massistant" in text


def test_parse_shows_messages_under_what_they_are(ossia):
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.f"
        "<|channel|>commentary <|constrain|>json<|message|>{}<|call|>"
    )
    result = ossia("parse", "-", stdin=text + "\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "assistant on analysis\nHm.\n\n"
        "assistant on commentary to functions.f as <|constrain|>json\n{}\n"
    )


def test_parse_says_what_it_mended(ossia):
    text = "analysis<|message|>a<|channel|>final<|message|>b<|end|>commentary"
    assert ossia("parse", "-", stdin=text).stdout == (
        "assistant on analysis\n"
        "repaired at token 1: missing channel: 'analysis'\n"
        "repaired at token 3: missing end: '<|channel|>'\n"
        "a\n\n"
        "assistant on final\nb\n\n"
        "repaired at token 9: stray tokens: 'commentary'\n"
    )


def test_parse_gives_messages_and_repairs_to_programs(ossia):
    text = "analysis<|message|>a<|channel|>final<|message|>b<|end|>commentary"
    given = json.loads(ossia("parse", "-", "--json", stdin=text).stdout)
    read = Conversation.from_json(json.dumps(given)).messages
    assert [(message.channel, message.text) for message in read] == [
        ("analysis", "a"),
        ("final", "b"),
    ]
    assert given["repairs"][0] == {"kind": "missing channel", "text": "analysis", "position": 1}
    assert given["repair_counts"] == {"missing channel": 1, "missing end": 1, "stray tokens": 1}


def test_what_was_rendered_is_parsed_and_rendered_again(ossia, file):
    options = ("--keep-reasoning", "--for", "history", "--tokens")
    first = ossia("render", file(TALK), *options, *DAY).stdout
    parsed = ossia("parse", "-", "--json", "--strict", stdin=first)
    again = ossia("render", "-", *options, stdin=parsed.stdout)
    assert again.stdout == first
    assert (parsed.stderr, again.stderr) == ("", "")


def test_a_prompt_ends_in_the_start_of_a_message(ossia, file):
    prompt = ossia("render", file(CHAT), "--tokens", *DAY).stdout
    result = ossia("parse", "-", "--strict", stdin=prompt)
    assert result.exit_code == 0
    assert result.stdout.endswith("\n\nuser\nHi <|end|>\n")
    assert result.stderr == "(ends in the start of a message of role assistant)\n"


def test_strict_parsing_refuses_in_one_line(ossia):
    result = ossia("parse", "-", "--strict", stdin="<|channel|>final<|message|>a<|channel|>b")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: missing end at token 4")


@pytest.mark.parametrize(
    ("stdin", "options", "author"),
    [
        ("<|message|>a", ["--begins", "user"], "user"),
        ("<|start|>user<|message|>a", [], "user"),
        ("<|start|>user<|message|>a", ["--begins", "start"], "user"),
        ("user<|message|>a", ["--begins", "start"], "user"),
        ("<|message|>a", [], "assistant on final"),
    ],
)
def test_it_says_in_whose_header_tokens_begin(ossia, stdin, options, author):
    assert ossia("parse", "-", *options, stdin=stdin).stdout.startswith(f"{author}\n")


def test_digits_are_ids_unless_told_otherwise(ossia):
    assert "200002" not in ossia("parse", "-", stdin="200005 17196 200008 64 200002").stdout
    text = "1 2 3"
    assert json.loads(ossia("parse", "-", "--json", "--text", stdin=text).stdout)["messages"][0][
        "content"
    ] == [{"type": "text", "text": text}]


def test_ids_of_no_token_are_mended_like_all_else(ossia):
    result = ossia("parse", "-", "--ids", stdin="200005 17196 200008 64 999999 200002")
    assert "repaired at token 4: misplaced token: 'token 999999'" in result.stdout
    assert result.exit_code == 0
