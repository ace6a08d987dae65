"""What is said against a prompt names the field that the client gave it in."""

from __future__ import annotations

import pytest

from ossia.errors import ContextLengthError
from ossia.server.api_error import ApiError
from support.api_client import serving_script
from support.raw_http import exchange, post
from support.scripted_service import ScriptedService

CHAT = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("/v1/chat/completions", "messages", {"messages": CHAT}),
        ("/v1/responses", "input", {"input": "hello"}),
        ("/v1/completions", "prompt", {"prompt": "hello"}),
        ("/v1/messages", "messages", {"messages": CHAT, "max_tokens": 5}),
    ],
)
def test_a_long_prompt_is_called_what_the_client_calls_it(path, field, body, stream):
    refusal = ApiError.of(ContextLengthError("9 tokens are too many", field="prompt_ids"))
    with serving_script(ScriptedService(refuse=refusal)) as address:
        sent = {"model": "gpt-oss-test", "stream": stream, **body}
        answer = exchange(address, post(path, sent, Connection="close"))
    assert answer.status == 400
    assert answer.error["message"] == f"{field}: 9 tokens are too many"
    if path != "/v1/messages":  # whose errors have no such fields
        assert answer.error["param"] == field
        assert answer.error["code"] == "context_length_exceeded"


def test_other_refusals_keep_their_names():
    refusal = ApiError("no", param="temperature")
    with serving_script(ScriptedService(refuse=refusal)) as address:
        sent = {"model": "gpt-oss-test", "messages": CHAT}
        answer = exchange(address, post("/v1/chat/completions", sent, Connection="close"))
    assert (answer.error["message"], answer.error["param"]) == ("no", "temperature")
