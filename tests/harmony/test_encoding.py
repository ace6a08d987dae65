"""Programs written for the openai_harmony package run over ours and give the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import openai_harmony as library
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia import harmony
from ossia.errors import ConfigError, HarmonyError
from ossia.harmony.differences import ALL
from ossia.tokenizer import Tokenizer, special
from support.harmony_oracle import Oracle
from support.harmony_strategies import texts

Program = Callable[[ModuleType, Any], Any]

WEATHER = {
    "type": "object",
    "properties": {
        "location": {"type": "string", "description": "The city and state"},
        "format": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
    },
    "required": ["location"],
}


def _messages(m: ModuleType) -> list[Any]:
    system = (
        m.SystemContent.new()
        .with_model_identity("You are a tester.")
        .with_reasoning_effort(m.ReasoningEffort.HIGH)
        .with_conversation_start_date("2025-06-28")
        .with_knowledge_cutoff("2024-06")
        .with_required_channels(["analysis", "commentary", "final"])
        .with_browser_tool()
        .with_python_tool()
    )
    developer = (
        m.DeveloperContent.new()
        .with_instructions("Always respond in riddles")
        .with_function_tools(
            [
                m.ToolDescription.new("get_location", "Where the user is."),
                m.ToolDescription.new("get_weather", "The weather.", parameters=WEATHER),
            ]
        )
    )
    say = m.Message.from_role_and_content
    return [
        say(m.Role.SYSTEM, system),
        say(m.Role.DEVELOPER, developer),
        m.Message.from_author_and_content(m.Author.new(m.Role.USER, "bob"), "Weather?"),
        say(m.Role.ASSISTANT, "Need the tool.").with_channel("analysis"),
        say(m.Role.ASSISTANT, '{"location":"SF"}')
        .with_channel("commentary")
        .with_recipient("functions.get_weather")
        .with_content_type("<|constrain|>json"),
        m.Message(
            author=m.Author(role=m.Role.TOOL, name="functions.get_weather"),
            content=[m.TextContent(text="sunny"), m.TextContent(text="!")],
            channel="commentary",
            recipient="assistant",
        ),
        m.Message.from_role_and_contents(
            m.Role.USER, [m.TextContent(text="a")]
        ).adding_content("b"),
    ]  # fmt: skip


def _conversation(m: ModuleType) -> Any:
    return m.Conversation.from_messages(_messages(m))


def _every_rendering(m: ModuleType, encoding: Any) -> Any:
    conversation = _conversation(m)
    keep = m.RenderConversationConfig(auto_drop_analysis=False)
    return [
        encoding.render_conversation_for_completion(conversation, m.Role.ASSISTANT),
        encoding.render_conversation_for_completion(conversation, m.Role.USER, keep),
        encoding.render_conversation(conversation),
        encoding.render_conversation(conversation, config=keep),
        encoding.render_conversation_for_training(conversation, config=None),
        [encoding.render(message) for message in conversation],
        encoding.render(
            _messages(m)[0],
            render_options=m.RenderOptions(conversation_has_function_tools=True),
        ),
    ]


def _json_round_trip(m: ModuleType, encoding: Any) -> Any:
    conversation = m.Conversation.from_json(_conversation(m).to_json())
    single = m.Message.from_dict({"role": "user", "content": "plain"})
    return [
        encoding.render_conversation(conversation),
        json.loads(single.to_json()),
        m.Conversation.from_messages([single]).to_dict(),
        conversation.messages[5].to_dict(),
    ]


def _data_model(m: ModuleType, encoding: Any) -> Any:
    message = _messages(m)[4]
    return [
        message == _messages(m)[4],
        message == _messages(m)[3],
        (message.author.role.value, message.channel, message.recipient, message.content_type),
        message.content[0].text,
        message.author == m.Author(role=m.Role.ASSISTANT),
        [each.author.role == m.Role.TOOL for each in _conversation(m)],
        m.Role("tool") is m.Role.TOOL,
        m.ReasoningEffort("Low").value,
        m.ChannelConfig.require_channels(["final"]).channel_required,
        m.ToolNamespaceConfig.browser().name,
        [tool.name for tool in m.ToolNamespaceConfig.browser().tools],
        str(m.HarmonyEncodingName.HARMONY_GPT_OSS),
        [state.value for state in m.StreamState],
    ]


def _vocabulary(m: ModuleType, encoding: Any) -> Any:
    ids = [0, 24912, 199_997, 199_998, 200_000, 200_006, 201_087, 201_088, 201_089]
    return [
        encoding.name,
        sorted(encoding.special_tokens_set),
        [encoding.is_special_token(token) for token in ids],
        [encoding.decode_utf8([token]) for token in ids[1:-1]],
        encoding.decode([132990, 9552]),
        encoding.decode([9552, 24912], errors="ignore"),
        sorted(encoding.stop_tokens()),
        sorted(encoding.stop_tokens_for_assistant_actions()),
        encoding.encode("hello world"),
        encoding.encode("a\ud800b"),
        encoding.encode("<|start|>x<|end|>", allowed_special={"<|start|>"}, disallowed_special=()),
        encoding.encode("<|start|>x<|end|>", allowed_special="all"),
        encoding.encode("<|start|>", disallowed_special=()),
        encoding.encode("<|nonsense|>"),
        encoding.encode("<|end|>", disallowed_special={"<|start|>"}),
    ]


def _parsing(m: ModuleType, encoding: Any) -> Any:
    written = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|message|>bare<|return|>"
    tokens = encoding.encode(written, allowed_special="all")
    parsed = encoding.parse_messages_from_completion_tokens(tokens, m.Role.ASSISTANT)
    cut = encoding.encode("<|start|>user<|message|>half", allowed_special="all")
    whole = encoding.parse_messages_from_completion_tokens(cut, strict=True)
    return [message.to_dict() for message in [*parsed, *whole]]


PROGRAMS: dict[str, Program] = {
    "every rendering": _every_rendering,
    "JSON there and back": _json_round_trip,
    "data model": _data_model,
    "vocabulary": _vocabulary,
    "parsing": _parsing,
}


@pytest.fixture(scope="module")
def encoding() -> harmony.HarmonyEncoding:
    return harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_gives_the_same(
    oracle: Oracle, encoding: harmony.HarmonyEncoding, program: str
) -> None:
    run = PROGRAMS[program]
    assert run(harmony, encoding) == run(library, oracle.encoding)


def test_every_public_name_is_there() -> None:
    more = {"ChannelConfig", "ReasoningEffort", "RenderConversationConfig", "RenderOptions"}
    wanted = {*library.__all__, *more, "ToolNamespaceConfig"}
    assert wanted <= set(harmony.__all__)
    for name in wanted:
        theirs, ours = getattr(library, name), getattr(harmony, name)
        methods = {each for each in vars(theirs) if not each.startswith(("_", "model_"))}
        if isinstance(theirs, type) and theirs is not library.Content:
            assert methods <= set(dir(ours)), name


REFUSED: dict[str, tuple[Program, str]] = {
    "a special token": (lambda m, e: e.encode("<|start|>"), "disallowed special token"),
    "the first of several": (lambda m, e: e.encode("a<|end|><|start|>"), r"<\|end\|>"),
    "a word of one's own": (lambda m, e: e.encode("a secret", disallowed_special={"secret"}), "sec"),
    "an id of no token": (lambda m, e: e.decode([99999999]), "token for decoding: 99999999"),
    "an id of no token, strictly": (lambda m, e: e.decode_utf8([201_089]), "201089"),
    "half a character": (lambda m, e: e.decode_utf8([132990, 9552]), "Invalid utf-8"),
    "no encoding": (lambda m, e: m.load_harmony_encoding("x"), "x"),
    "no role": (lambda m, e: m.Message.from_dict({"role": "x", "content": ""}), "(?i)unknown role"),
    "no author": (lambda m, e: m.Author(role="x"), "(?i)role"),
    "no content": (lambda m, e: m.Message.from_dict({"role": "user", "content": [{"type": "x"}]}), "x"),
    "no message": (lambda m, e: m.Conversation.from_messages([m.SystemContent.new()]), "Message"),
    "no JSON": (lambda m, e: m.Conversation.from_json("{"), "line 1 column 2"),
    "end inside a header": (
        lambda m, e: e.parse_messages_from_completion_tokens([special.CHANNEL], m.Role.ASSISTANT),
        "(?i)unexpected EOS while waiting for message header",
    ),
    "junk": (
        lambda m, e: e.parse_messages_from_completion_tokens([12606, special.END]),
        "(?i)unexpected token.* while expecting start token",
    ),
    "words in a header": (
        lambda m, e: e.parse_messages_from_completion_tokens(
            e.encode("<|start|>assistant to=a b c d<|message|>", allowed_special="all")
        ),
        "unexpected tokens remaining in message header",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse_with_an_error_that_the_same_handler_catches(
    oracle: Oracle, encoding: harmony.HarmonyEncoding, case: str
) -> None:
    run, words = REFUSED[case]
    with pytest.raises((library.HarmonyError, ValueError), match=words) as theirs:
        run(library, oracle.encoding)
    kind = HarmonyError if isinstance(theirs.value, library.HarmonyError) else ValueError
    with pytest.raises(kind, match=words):
        run(harmony, encoding)


def test_an_unknown_encoding_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="there is only HarmonyGptOss"):
        harmony.load_harmony_encoding("o200k_base")


def test_the_library_s_rendering_can_be_had(oracle: Oracle) -> None:
    as_library = harmony.load_harmony_encoding("HarmonyGptOss", as_library=ALL)
    messages = [
        harmony.Message.from_role_and_content(harmony.Role.ASSISTANT, "x").with_channel("b c")
    ]
    conversation = harmony.Conversation(messages)
    assert as_library.render_conversation(conversation) == oracle.render(messages, "conversation")


@settings(max_examples=100)
@given(texts, st.sampled_from(["all", "some", "none"]))
def test_texts_are_encoded_alike(
    oracle: Oracle, encoding: harmony.HarmonyEncoding, text: str, which: str
) -> None:
    allowed: Any = {"all": "all", "some": {"<|start|>", "<|end|>"}, "none": set()}[which]
    ours = encoding.encode(text, allowed_special=allowed, disallowed_special=())
    theirs = oracle.encoding.encode(text, allowed_special=allowed, disallowed_special=())
    assert ours == theirs
    assert encoding.decode(ours) == text


# After "<|start|>assistant".
STREAMS = {
    "a turn": (
        "<|channel|>analysis<|message|>Hi 🫠, naïve<|end|><|start|>assistant to=f<|channel|>"
        "commentary <|constrain|>json<|message|>{}<|call|>"
    ),
    "a tool's turn": (
        "<|channel|>final<|message|>x<|end|><|start|>functions.f to=assistant<|channel|>commentary"
        "<|message|>y<|end|>"
    ),
    "no channel": "<|message|>bare",
    "nothing but a header": "<|channel|>ana",
}
PROPERTIES = [
    "current_content",
    "current_role",
    "current_channel",
    "current_recipient",
    "current_content_type",
    "last_content_delta",
    "tokens",
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("begun", [True, False], ids=["role given", "from the start"])
def test_a_stream_is_followed_alike(
    oracle: Oracle, encoding: harmony.HarmonyEncoding, stream: str, begun: bool
) -> None:
    text = STREAMS[stream] if begun else f"<|start|>assistant{STREAMS[stream]}"
    ours = harmony.StreamableParser(encoding, harmony.Role.ASSISTANT if begun else None)
    theirs = library.StreamableParser(oracle.encoding, library.Role.ASSISTANT if begun else None)
    for token in encoding.encode(text, allowed_special="all"):
        assert ours.process(token) is ours
        theirs.process(token)
        _assert_alike(ours, theirs)
    if stream != "nothing but a header":
        ours.process_eos()
        theirs.process_eos()
        _assert_alike(ours, theirs)
        return
    with pytest.raises(library.HarmonyError):
        theirs.process_eos()
    with pytest.raises(HarmonyError):
        ours.process_eos()


def _assert_alike(ours: harmony.StreamableParser, theirs: library.StreamableParser) -> None:
    for name in PROPERTIES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.state.value == theirs.state.value
    assert ours.state_data.keys() == theirs.state_data.keys()
    assert ours.state_data.get("header") == theirs.state_data.get("header")
    assert ours.state_data.get("header_tokens") == theirs.state_data.get("header_tokens")
    assert [each.to_dict() for each in ours.messages] == [
        each.to_dict() for each in theirs.messages
    ]


# What upstream's newer tests ask of lenient parsing: output without <|message|>, and its messages.
LENIENT = {
    "text alone": ("I must refuse<|end|>", [(None, None, "I must refuse")]),
    "text behind a channel": (
        "<|channel|>analysis I must refuse<|end|>",
        [("analysis", None, "I must refuse")],
    ),
    "text before a call": (
        "... Let's use it.<|end|><|start|>assistant to=functions.f<|channel|>commentary json"
        "<|message|>{}<|call|>",
        [(None, None, "... Let's use it."), ("commentary", "functions.f", "{}")],
    ),
    "a type without a recipient": (
        "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
        [("final", None, "{}")],
    ),
}


@pytest.mark.parametrize("row", LENIENT)
def test_lenient_streams_keep_what_was_said(encoding: harmony.HarmonyEncoding, row: str) -> None:
    written, expected = LENIENT[row]
    parser = harmony.StreamableParser(encoding, harmony.Role.ASSISTANT, strict=False)
    for token in encoding.encode(written, allowed_special="all"):
        parser.process(token)
    found = [(each.channel, each.recipient, each.text) for each in parser.messages]
    assert found == expected
    strict = harmony.StreamableParser(encoding, harmony.Role.ASSISTANT)
    if not parser.repairs:
        return
    tokens = encoding.encode(written, allowed_special="all")
    with pytest.raises(HarmonyError, match="unexpected tokens remaining in message header"):
        list(map(strict.process, tokens))
    assert strict.state is harmony.StreamState.EXPECT_START
    assert strict.messages == strict.repairs == []


def test_a_half_character_waits_and_ends_with_its_message(tokenizer: Tokenizer) -> None:
    encoding = harmony.HarmonyEncoding(tokenizer)
    parser = harmony.StreamableParser(encoding, None)
    opening = encoding.encode("<|start|>assistant<|message|>", allowed_special="all")
    deltas: list[str | None] = []
    for token in [*opening, 9552, *encoding.encode(" interesting story")]:
        deltas.append(parser.process(token).last_content_delta)
    assert parser.current_content == " \ufffd interesting story"
    assert "".join(filter(None, deltas)) == parser.current_content


def test_ids_may_be_elements_of_tensors(encoding: harmony.HarmonyEncoding) -> None:
    """As what `generate` gives is; the library takes them, too."""
    ids = encoding.encode("<|channel|>final<|message|>Hi<|return|>", allowed_special="all")
    role = harmony.Role.ASSISTANT
    expected = encoding.parse_messages_from_completion_tokens(ids, role)
    for held in (torch.tensor(ids), np.array(ids)):
        assert encoding.parse_messages_from_completion_tokens(held, role) == expected
        assert encoding.decode(held) == encoding.decode(ids)
        parser = harmony.StreamableParser(encoding, role)
        for token in held:
            parser.process(token)
        assert parser.process_eos().messages == expected
        assert parser.tokens == ids
