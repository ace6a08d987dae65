"""Whatever is drawn under the mask is well-formed, and names tools that were offered."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import RequestError
from ossia.harmony import (
    Author,
    Channel,
    Conversation,
    DeveloperContent,
    HeaderGrammar,
    HeaderMask,
    HeaderRules,
    Message,
    RenderConversationConfig,
    Renderer,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
    offered_tools,
    parse_messages,
)
from ossia.tokenizer import Tokenizer, special
from ossia.types import TokenMask
from support.harmony_strategies import identifiers

FUNCTIONS = ("functions.get", "functions.get_weather", "functions.a-b", "functions.é")
BUILTIN = ("browser.search", "python")


def _ids(bits: bytes) -> list[int]:
    return [
        byte * 8 + bit
        for byte, value in enumerate(bits)
        if value
        for bit in range(8)
        if value >> bit & 1
    ]


def _walk(mask: HeaderMask, random: Random, max_messages: int = 4) -> list[int]:
    """Draw under the mask until the turn ends, or enough messages were written."""
    tokens: list[int] = []
    num_messages = 0
    while num_messages < max_messages:
        allowed = mask.allowed()
        assert allowed is not None
        if not mask.in_content:
            token = random.choice(_ids(allowed))
        elif random.random() < 0.7:
            token = random.randrange(special.FIRST_SPECIAL)
            assert allowed[token // 8] >> token % 8 & 1
        else:
            first = special.FIRST_SPECIAL // 8
            above = [first * 8 + token for token in _ids(allowed[first:])]
            token = random.choice([each for each in above if special.is_special(each)])
        mask.accept(token)
        tokens.append(token)
        num_messages += token in special.STOP_TOKENS
        if token in special.ACTION_STOP_TOKENS:
            break
    return tokens


@st.composite
def _rules(draw: st.DrawFn) -> HeaderRules:
    functions = tuple(
        draw(
            st.lists(
                st.one_of(st.sampled_from(FUNCTIONS), identifiers.map("functions.{}".format)),
                max_size=4,
            )
        )
    )
    builtin = draw(st.sampled_from([(), BUILTIN]))
    offered = [*functions, *builtin]
    choices = ["auto", "none", *(["required", *offered] if offered else [])]
    choice = draw(st.sampled_from(choices))
    final_only = draw(st.booleans()) and choice in ("auto", "none")
    return HeaderRules(
        functions=functions,
        builtin_tools=builtin,
        tool_choice=choice,
        reasoning=draw(st.booleans()),
        final_only=final_only,
    )


@settings(max_examples=150, deadline=None)
@given(_rules(), st.integers(0, 2**32))
def test_every_walk_is_well_formed(tokenizer: Tokenizer, rules: HeaderRules, seed: int) -> None:
    grammar, random = HeaderGrammar(tokenizer, rules), Random(seed)
    offered = {*rules.functions, *rules.builtin_tools}
    for _ in range(5):
        tokens = _walk(HeaderMask(grammar), random)
        messages = parse_messages(tokenizer, tokens, Role.ASSISTANT, strict=True)
        assert len(messages) == sum(token in special.STOP_TOKENS for token in tokens)
        for message in messages:
            assert message.author == Author(Role.ASSISTANT)
            if message.recipient is not None:
                assert message.recipient in offered
                assert rules.tool_choice != "none"
                assert not rules.final_only
                if rules.tool_choice not in ("auto", "required"):
                    assert message.recipient == rules.tool_choice
                if message.recipient in rules.functions and message.recipient not in BUILTIN:
                    assert message.channel == Channel.COMMENTARY
            elif message.channel == Channel.ANALYSIS:
                assert rules.reasoning
                assert not rules.final_only
            elif message.channel == Channel.FINAL:
                assert not rules.must_call
            else:
                assert offered
                assert not rules.must_call
        ends = [token for token in tokens if token in special.ACTION_STOP_TOKENS]
        assert ends == [] or (ends == [special.CALL]) == (messages[-1].recipient is not None)


TURN = [
    Message(Author(Role.ASSISTANT), [TextContent("hm")], "analysis"),
    Message(Author(Role.ASSISTANT), [TextContent("{}")], "analysis", "browser.search", "code"),
    Message(Author(Role.ASSISTANT), [TextContent("wait")], "commentary"),
    Message(
        Author(Role.ASSISTANT),
        [TextContent("{}")],
        "commentary",
        "functions.é",
        "<|constrain|>json",
    ),
    Message(Author(Role.ASSISTANT), [TextContent("{}")], "commentary", "functions.get_weather"),
    Message(Author(Role.ASSISTANT), [TextContent("{}")], "final", None, "<|constrain|>json"),
]
AS_MODELS_WRITE = [
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{}<|call|>",
    "<|channel|>commentary to=functions.get json<|message|>{}<|call|>",
    "<|channel|>analysis to=python code<|message|>1<|call|>",
    " to=functions.get_weather<|channel|>commentary json<|message|>{}<|call|>",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>a<|return|>",
    "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
]


def _follow(grammar: HeaderGrammar, tokens: list[int]) -> None:
    mask = HeaderMask(grammar)
    for position, token in enumerate(tokens):
        allowed = mask.allowed()
        assert allowed is not None
        assert token // 8 < len(allowed), position
        assert allowed[token // 8] >> token % 8 & 1, position
        mask.accept(token)


@pytest.fixture(scope="module")
def grammar(tokenizer: Tokenizer) -> HeaderGrammar:
    return HeaderGrammar(tokenizer, HeaderRules(functions=FUNCTIONS, builtin_tools=BUILTIN))


def test_what_the_renderer_writes_is_allowed(
    tokenizer: Tokenizer, renderer: Renderer, grammar: HeaderGrammar
) -> None:
    keep = RenderConversationConfig(auto_drop_analysis=False)
    for message in TURN:
        ids = renderer.render_conversation(Conversation([message]), keep)
        end = special.RETURN if message.channel == "final" else ids[-1]
        _follow(grammar, [*ids[2:-1], end])


@pytest.mark.parametrize("written", AS_MODELS_WRITE)
def test_what_models_write_is_allowed(
    tokenizer: Tokenizer, grammar: HeaderGrammar, written: str
) -> None:
    _follow(grammar, tokenizer.encode_with_special(written))


def test_content_may_be_anything_but_special_tokens(
    tokenizer: Tokenizer, grammar: HeaderGrammar
) -> None:
    mask: TokenMask = HeaderMask(grammar)
    for token in tokenizer.encode_with_special("<|channel|>final<|message|>"):
        mask.accept(token)
    first = mask.allowed()
    assert first is not None
    assert _ids(bytes(first)) == [*range(special.FIRST_SPECIAL), special.RETURN]
    mask.accept(17)
    assert mask.allowed() is first, "one set for the whole content"


def test_a_token_out_of_order_is_forgiven_at_the_next_message(
    tokenizer: Tokenizer, grammar: HeaderGrammar
) -> None:
    mask = HeaderMask(grammar)
    mask.accept(special.MESSAGE)
    assert mask.allowed() is None
    assert not mask.in_content
    mask.accept(5)
    mask.accept(special.END)
    allowed = mask.allowed()
    assert allowed is not None
    assert _ids(allowed) == [special.START]


def test_a_stop_token_out_of_order_ends_a_message_too(grammar: HeaderGrammar) -> None:
    mask = HeaderMask(grammar)
    mask.accept(special.RETURN)
    allowed = mask.allowed()
    assert allowed is not None
    assert _ids(allowed) == [special.START]


def test_turns_of_one_kind_share_the_sets_of_their_places(tokenizer: Tokenizer) -> None:
    """A request that has ended may wait long for the collector, and must not hold much."""
    walks = []
    for _ in range(2):
        mask = HeaderMask(HeaderGrammar(tokenizer, HeaderRules(functions=FUNCTIONS)))
        sets = [mask.allowed()]
        for token in (special.CHANNEL, *tokenizer.encode("final"), special.MESSAGE):
            mask.accept(token)
            sets.append(mask.allowed())
        walks.append(sets)
    assert all(one is other for one, other in zip(*walks, strict=True))


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"tool_choice": "required"}, "no tool is on offer"),
        ({"tool_choice": "functions.f"}, "no tool named 'functions.f' is on offer"),
        ({"functions": ("functions.f",), "tool_choice": "f"}, "no tool named 'f'"),
        (
            {"functions": ("functions.f",), "tool_choice": "required", "final_only": True},
            "only an answer may come",
        ),
    ],
)
def test_choices_that_cannot_be_met_are_refused(rules: dict[str, object], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        HeaderRules(**rules)


def test_tools_are_found_in_the_conversation() -> None:
    system = SystemContent().with_browser_tool().with_python_tool()
    developer = DeveloperContent().with_function_tools(
        [ToolDescription("f", ""), ToolDescription("g", "")]
    )
    developer.with_tools(ToolNamespaceConfig("mail", None, [ToolDescription("send", "")]))
    developer.with_tools(ToolNamespaceConfig("empty"))
    messages = [
        Message.from_role_and_content(Role.SYSTEM, system),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        Message.from_role_and_content(Role.USER, "hi"),
    ]
    functions, builtin = offered_tools(messages)
    assert functions == ("functions.f", "functions.g", "mail.send")
    assert builtin == ("browser.search", "browser.open", "browser.find", "python")
