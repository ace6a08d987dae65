from __future__ import annotations

import openai
import pytest

from ossia.tokenizer import special
from support.api_client import MODEL, openai_client
from support.scripted_engine import TOKENIZER
from support.scripted_service import ScriptedService

SCRIPT = " upon a time.<|return|>"


def _ask(service: ScriptedService, **body):
    with openai_client(service) as client:
        return client.completions.create(**{"model": MODEL, "prompt": "Once", **body})


def _refused(**body) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as refusal:
        _ask(ScriptedService(SCRIPT), **body)
    return refusal.value


def test_a_prompt_is_gone_on_with():
    service = ScriptedService(SCRIPT)
    completion = _ask(service)
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason, choice.logprobs) == (" upon a time.", "stop", None)
    assert completion.object == "text_completion"
    assert completion.usage.prompt_tokens == 1
    assert completion.usage.completion_tokens == len(TOKENIZER.encode_with_special(SCRIPT))
    assert service.requests[0].sampling.max_tokens == 16


def test_streamed_it_is_the_same():
    with openai_client(ScriptedService(SCRIPT, pause=0.001)) as client:
        chunks = list(
            client.completions.create(
                model=MODEL, prompt="Once", stream=True, stream_options={"include_usage": True}
            )
        )
    texts = [chunk.choices[0].text for chunk in chunks[:-1]]
    assert "".join(texts) == " upon a time."
    assert len(texts) > 2
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == 1


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param("Once", [(TOKENIZER.encode("Once")[0],)], id="text"),
        pytest.param(
            ["Once", "a"], [tuple(TOKENIZER.encode(one)) for one in ("Once", "a")], id="texts"
        ),
        pytest.param([5, 6], [(5, 6)], id="ids"),
        pytest.param([[5], [6, 7]], [(5,), (6, 7)], id="lists-of-ids"),
        pytest.param("", [(special.ENDOFTEXT,)], id="empty"),
    ],
)
def test_prompts_in_every_form(prompt, expected):
    service = ScriptedService(SCRIPT)
    completion = _ask(service, prompt=prompt)
    assert sorted(request.prompt_ids for request in service.requests) == sorted(expected)
    assert [choice.index for choice in completion.choices] == list(range(len(expected)))
    assert completion.usage.prompt_tokens == sum(map(len, expected))


def test_choices_of_a_prompt_stand_together():
    service = ScriptedService(SCRIPT)
    completion = _ask(service, prompt=[[5], [6, 7]], n=2, seed=1)
    assert len(completion.choices) == 4
    assert [request.prompt_ids for request in service.requests] == [(5,), (5,), (6, 7), (6, 7)]
    assert [request.sampling.seed for request in service.requests] == [1, 2, 1, 2]
    assert completion.usage.prompt_tokens == 3


def test_special_tokens_in_a_prompt_are_text_unless_that_is_asked_for():
    service = ScriptedService(SCRIPT)
    _ask(service, prompt="<|start|>user")
    assert special.START not in service.requests[0].prompt_ids
    _ask(service, prompt="<|start|>user", extra_body={"allow_special": True})
    assert service.requests[1].prompt_ids[0] == special.START


def test_special_tokens_of_the_output_are_shown_only_when_asked_for():
    script = "<|channel|>final<|message|>Hi<|end|>there<|return|>"
    assert _ask(ScriptedService(script)).choices[0].text == "finalHithere"
    shown = _ask(ScriptedService(script), extra_body={"skip_special_tokens": False})
    assert shown.choices[0].text == "<|channel|>final<|message|>Hi<|end|>there"


def test_a_stop_string_ends_the_text_and_the_request():
    service = ScriptedService(SCRIPT)
    choice = _ask(service, stop=[" time"]).choices[0]
    assert (choice.text, choice.finish_reason) == (" upon a", "stop")
    assert service.closed_early == 1


def test_log_probabilities():
    logprobs = _ask(ScriptedService(SCRIPT), logprobs=2).choices[0].logprobs
    assert "".join(logprobs.tokens) == " upon a time."
    assert logprobs.text_offset == [0, 5, 7, 12]
    assert logprobs.token_logprobs == [-0.5] * 4
    assert all(len(top) == 2 for top in logprobs.top_logprobs)


@pytest.mark.parametrize("stream", [False, True])
def test_echo_with_log_probabilities_scores_the_prompt(stream):
    service = ScriptedService(SCRIPT, pause=0.001)
    body = {"prompt": "Once upon a", "max_tokens": 1, "echo": True, "logprobs": 1, "stream": stream}
    with openai_client(service) as client:
        got = client.completions.create(model=MODEL, **body)
        choices = [one.choices[0] for one in (got if stream else [got])]
    tables = [choice.logprobs for choice in choices]
    tokens = [token for table in tables for token in table.tokens]
    assert "".join(choice.text for choice in choices) == "Once upon a upon"
    assert "".join(tokens) == "Once upon a upon"
    values = [value for table in tables for value in table.token_logprobs]
    assert values == [None, -0.5, -0.5, -0.5]
    assert [one for table in tables for one in table.text_offset] == [0, 4, 9, 11]


def test_no_tokens_at_all_shows_the_prompt_alone():
    choice = _ask(ScriptedService(SCRIPT), echo=True, max_tokens=0).choices[0]
    assert (choice.text, choice.finish_reason) == ("Once", "length")


def test_characters_of_several_tokens_come_whole():
    choice = _ask(ScriptedService("\N{HOT BEVERAGE}\N{GRINNING FACE}<|return|>")).choices[0]
    assert choice.text == "\N{HOT BEVERAGE}\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({"suffix": "end"}, "suffix", id="suffix"),
        pytest.param({"best_of": 3}, "best_of", id="best-of"),
        pytest.param({"n": 17}, "n", id="n"),
        pytest.param({"temperature": 3}, "temperature", id="temperature"),
        pytest.param({"top_p": -3}, "top_p", id="top-p"),
        pytest.param({"prompt": ["a"] * 257}, "prompt", id="prompts"),
        pytest.param({"prompt": []}, "prompt", id="no-prompt"),
        pytest.param({"prompt": [[]] * 300}, "prompt", id="empty-prompts"),
        pytest.param({"logprobs": 21}, "logprobs", id="logprobs"),
        pytest.param({"max_tokens": -1}, "max_tokens", id="max-tokens"),
        pytest.param(
            {"extra_body": {"response_format": {"type": "text"}}}, "response_format", id="format"
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body, param):
    refusal = _refused(**body)
    assert refusal.status_code == 400
    assert refusal.body["param"] == param


def test_a_fault_in_mid_stream_is_an_event():
    with openai_client(ScriptedService(SCRIPT, dies_after=2)) as client:
        stream = client.completions.create(model=MODEL, prompt="Once", stream=True)
        with pytest.raises(openai.APIError, match="boom"):
            list(stream)
