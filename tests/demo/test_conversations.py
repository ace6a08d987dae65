"""The generated conversations are what Ossia's own renderer and parser make of the same messages."""

from random import Random

import pytest
from demo.conversations import Conversation, example, random_conversation
from demo.dialogue import EFFORTS, ToolSays
from demo.prompts import CHATGPT, Header, system_text
from demo.splits import split_of
from demo.text import decode
from demo.toolbox import tools_section
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia import harmony
from ossia.tokenizer import Tokenizer, special

KINDS = (
    "counting",
    "arithmetic",
    "facts",
    "smalltalk",
    "fallback",
    "calling",
    "unfitting",
    "idle tools",
)
SEEDS = st.integers(0, 2**32)


def plain_header(conversation: Conversation) -> Conversation:
    effort = conversation.header.effort
    functions = bool(conversation.tools)
    system = system_text(CHATGPT, "2024-06", "2026-03-01", effort, "", functions)
    developer = tools_section(conversation.tools) if functions else None
    return Conversation(Header(effort, system, developer), conversation.tools, conversation.steps)


def as_messages(conversation: Conversation) -> list[harmony.Message]:
    effort = harmony.ReasoningEffort(conversation.header.effort)
    system = (
        harmony.SystemContent.new()
        .with_reasoning_effort(effort)
        .with_conversation_start_date("2026-03-01")
    )
    messages = [harmony.Message.from_role_and_content(harmony.Role.SYSTEM, system)]
    if conversation.tools:
        described = [
            harmony.ToolDescription.new(t.name, t.description, t.schema())
            for t in conversation.tools
        ]
        developer = harmony.DeveloperContent.new().with_function_tools(described)
        messages.append(harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, developer))
    for idx, step in enumerate(conversation.steps):
        if isinstance(step.prompt, ToolSays):
            author = harmony.Author.new(harmony.Role.TOOL, f"functions.{step.prompt.name}")
            said = harmony.Message.from_author_and_content(author, step.prompt.text)
            messages.append(said.with_channel("commentary").with_recipient("assistant"))
        else:
            messages.append(
                harmony.Message.from_role_and_content(harmony.Role.USER, step.prompt.text)
            )
        if idx < len(conversation.steps) - 1:
            messages += reply_messages(conversation, idx)
    return messages


def reply_messages(conversation: Conversation, idx: int) -> list[harmony.Message]:
    reply = conversation.steps[idx].reply(conversation.header.effort)
    assistant = harmony.Role.ASSISTANT
    if reply.call is None:
        return [
            harmony.Message.from_role_and_content(assistant, decode(reply.final)).with_channel(
                "final"
            )
        ]
    call = harmony.Message.from_role_and_content(assistant, decode(reply.call.arguments_ids))
    call = (
        call.with_channel("commentary")
        .with_recipient(f"functions.{reply.call.name}")
        .with_content_type("<|constrain|>json")
    )
    running = idx == len(conversation.steps) - 2 and isinstance(
        conversation.steps[-1].prompt, ToolSays
    )
    thought = harmony.Message.from_role_and_content(assistant, decode(reply.analysis)).with_channel(
        "analysis"
    )
    return [thought, call] if running else [call]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(deadline=None, max_examples=25)
def test_prompts_are_what_the_renderer_makes_of_the_same_messages(kind, seed):
    conversation = plain_header(random_conversation(Random(seed), "train", kind))
    renderer = harmony.Renderer(Tokenizer.o200k_harmony())
    rendered = renderer.render_conversation_for_completion(
        harmony.Conversation.from_messages(as_messages(conversation))
    )
    text = Tokenizer.o200k_harmony().decode
    assert text(conversation.prompt_ids()) == text(rendered)
    assert conversation.prompt_ids() == rendered


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(deadline=None, max_examples=25)
def test_replies_parse_without_repair_into_reasoning_and_answer(kind, seed):
    conversation = random_conversation(Random(seed), "train", kind)
    reply = conversation.reply()
    thought, answer = harmony.parse_messages(
        Tokenizer.o200k_harmony(), conversation.reply_ids(), harmony.Role.ASSISTANT, strict=True
    )
    assert (thought.channel, thought.text) == ("analysis", decode(reply.analysis))
    if reply.call is None:
        assert (answer.channel, answer.text) == ("final", decode(reply.final))
    else:
        assert (answer.recipient, answer.channel) == (f"functions.{reply.call.name}", "commentary")
        assert (answer.content_type, answer.text) == (
            "<|constrain|>json",
            decode(reply.call.arguments_ids),
        )


@given(seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_more_effort_means_more_reasoning_and_the_same_answer(seed):
    step = random_conversation(Random(seed), "train").steps[-1]
    low, medium, high = (step.reply(effort) for effort in EFFORTS)
    assert len(low.analysis) < len(medium.analysis) < len(high.analysis)
    assert low[1:] == medium[1:] == high[1:]


@given(seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_examples_end_with_a_stop_and_begin_their_targets_at_the_assistant(seed):
    ids, num_prompt = example(Random(seed))
    assert ids == example(Random(seed))[0]
    assert ids[-1] in special.ACTION_STOP_TOKENS
    assert ids[num_prompt] == special.CHANNEL or ids[num_prompt - 1] == special.MESSAGE


def test_strawberry_is_held_out():
    assert split_of("Strawberry") == "test"
