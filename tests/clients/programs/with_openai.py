"""The hosted API's own package for Python."""

from __future__ import annotations

import json
import time
from typing import Any

from common import (
    BASE_URL,
    FOLLOW_UP,
    KEY,
    MODEL,
    NEEDS_TOOL,
    QUESTION,
    WEATHER_SCHEMA,
    call_tool,
    case,
    main,
)
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=120)
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather.",
    "parameters": WEATHER_SCHEMA,
    "strict": True,
}
CHAT_TOOL = {
    "type": "function",
    "function": {name: value for name, value in TOOL.items() if name != "type"},
}


class Count(BaseModel):
    count: int


def chat(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "model": MODEL,
        "messages": messages,
        "temperature": 0,
        "reasoning_effort": "low",
    } | more


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": text, "temperature": 0, "reasoning": {"effort": "low"}} | more


def reasoning_of(response: Any) -> str:
    items = [item for item in response.output if item.type == "reasoning"]
    return "".join(part.text for item in items for part in item.content)


@case("chat/plain")
def _() -> dict[str, Any]:
    completion = client.chat.completions.create(**chat(QUESTION))
    usage = completion.usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens
    return {"text": completion.choices[0].message.content}


@case("chat/reasoning")
def _() -> dict[str, Any]:
    message = client.chat.completions.create(**chat(QUESTION)).choices[0].message
    assert message.reasoning == message.reasoning_content
    return {"text": message.reasoning}


@case("chat/stream")
def _() -> dict[str, Any]:
    pieces = []
    with client.chat.completions.stream(**chat(QUESTION)) as stream:
        pieces += [event.delta for event in stream if event.type == "content.delta"]
        text = stream.get_final_completion().choices[0].message.content
    assert "".join(pieces) == text
    return {"text": text, "pieces": len(pieces)}


@case("chat/tools")
def _() -> dict[str, Any]:
    request = chat(NEEDS_TOOL, tools=[CHAT_TOOL])
    while True:
        message = client.chat.completions.create(**request).choices[0].message
        if not message.tool_calls:
            return {"text": message.content}
        request["messages"].append(message)
        for call in message.tool_calls:
            output = call_tool(call.function.name, call.function.arguments)
            result = {"role": "tool", "tool_call_id": call.id, "content": output}
            request["messages"].append(result)


@case("chat/streamed tools")
def _() -> dict[str, Any]:
    request = chat(NEEDS_TOOL, tools=[CHAT_TOOL])
    pieces = 0
    while True:
        with client.chat.completions.stream(**request) as stream:
            for event in stream:
                pieces += event.type == "tool_calls.function.arguments.delta"
            message = stream.get_final_completion().choices[0].message
        if not message.tool_calls:
            return {"text": message.content, "pieces": pieces}
        request["messages"].append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            output = call_tool(call.function.name, call.function.arguments)
            result = {"role": "tool", "tool_call_id": call.id, "content": output}
            request["messages"].append(result)


@case("chat/structured")
def _() -> dict[str, Any]:
    parsed = client.chat.completions.parse(**chat(QUESTION), response_format=Count)
    return {"data": parsed.choices[0].message.parsed.model_dump()}


@case("chat/stored")
def _() -> dict[str, Any]:
    completion = client.chat.completions.create(**chat(QUESTION), store=True)
    assert client.chat.completions.messages.list(completion.id).data[0].content == QUESTION
    kept = client.chat.completions.retrieve(completion.id)
    assert client.chat.completions.delete(completion.id).deleted
    return {"text": kept.choices[0].message.content}


@case("chat/unknown model")
def _() -> dict[str, Any]:
    client.chat.completions.create(**chat(QUESTION) | {"model": "gpt-5"})
    return {}


@case("chat/bad key")
def _() -> dict[str, Any]:
    client.with_options(api_key="wrong").chat.completions.create(**chat(QUESTION))
    return {}


@case("responses/plain")
def _() -> dict[str, Any]:
    return {"text": client.responses.create(**asked(QUESTION)).output_text}


@case("responses/reasoning")
def _() -> dict[str, Any]:
    return {"text": reasoning_of(client.responses.create(**asked(QUESTION)))}


@case("responses/stream")
def _() -> dict[str, Any]:
    pieces = []
    with client.responses.stream(**asked(QUESTION)) as stream:
        pieces += [event.delta for event in stream if event.type == "response.output_text.delta"]
        text = stream.get_final_response().output_text
    assert "".join(pieces) == text
    return {"text": text, "pieces": len(pieces)}


@case("responses/tools")
def _() -> dict[str, Any]:
    response = client.responses.create(**asked(NEEDS_TOOL, tools=[TOOL]))
    (call,) = (item for item in response.output if item.type == "function_call")
    output = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": call_tool(call.name, call.arguments),
    }
    more = {"previous_response_id": response.id, "tools": [TOOL]}
    return {"text": client.responses.create(**asked([output], **more)).output_text}


@case("responses/tools, nothing stored")
def _() -> dict[str, Any]:
    stateless = {"tools": [TOOL], "store": False, "include": ["reasoning.encrypted_content"]}
    messages: list[Any] = [{"role": "user", "content": NEEDS_TOOL}]
    response = client.responses.create(**asked(messages, **stateless))
    for item in response.output:
        messages.append(item)
        if item.type == "function_call":
            output = call_tool(item.name, item.arguments)
            result = {"type": "function_call_output", "call_id": item.call_id, "output": output}
    return {"text": client.responses.create(**asked([*messages, result], **stateless)).output_text}


@case("responses/structured")
def _() -> dict[str, Any]:
    response = client.responses.parse(**asked(QUESTION), text_format=Count)
    return {"data": response.output_parsed.model_dump()}


@case("responses/streamed structured")
def _() -> dict[str, Any]:
    with client.responses.stream(**asked(QUESTION), text_format=Count) as stream:
        return {"data": stream.get_final_response().output_parsed.model_dump()}


@case("responses/conversation")
def _() -> dict[str, Any]:
    conversation = client.conversations.create(metadata={"topic": "letters"})
    client.responses.create(**asked(QUESTION, conversation=conversation.id))
    response = client.responses.create(**asked(FOLLOW_UP, conversation=conversation.id))
    items = list(client.conversations.items.list(conversation.id, order="asc"))
    messages = [item.role for item in items if item.type == "message"]
    assert messages == ["user", "assistant"] * 2, messages
    assert client.conversations.delete(conversation.id).deleted
    return {"text": response.output_text}


@case("responses/background")
def _() -> dict[str, Any]:
    response = client.responses.create(**asked(QUESTION, background=True))
    assert response.status in ("queued", "in_progress"), response.status
    while response.status in ("queued", "in_progress"):
        time.sleep(0.1)
        response = client.responses.retrieve(response.id)
    assert response.status == "completed", response.status
    return {"text": response.output_text}


@case("responses/resumed stream")
def _() -> dict[str, Any]:
    more = {"background": True, "stream": True}
    with client.responses.create(**asked(QUESTION, **more)) as stream:
        events = [event for event, _ in zip(stream, range(8), strict=False)]
    response_id, last = events[0].response.id, events[-1].sequence_number
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=last))
    numbers = [event.sequence_number for event in [*events, *rest]]
    assert numbers == list(range(len(numbers))), numbers
    return {"text": rest[-1].response.output_text, "pieces": len(rest)}


@case("responses/cancel and delete")
def _() -> dict[str, Any]:
    response = client.responses.create(**asked(QUESTION, background=True))
    status = client.responses.cancel(response.id).status
    assert status == "cancelled", status
    client.responses.delete(response.id)
    client.responses.retrieve(response.id)
    return {}


@case("responses/input tokens")
def _() -> dict[str, Any]:
    counted = client.responses.input_tokens.count(model=MODEL, input=QUESTION).input_tokens
    response = client.responses.create(**asked(QUESTION))
    assert counted == response.usage.input_tokens, counted
    listed = client.responses.input_items.list(response.id).data
    assert listed[0].content[0].text == QUESTION
    return {"text": response.output_text}


@case("responses/websocket")
def _() -> dict[str, Any]:
    """A call and its answer, told over one socket."""
    with client.responses.connect() as connection:
        connection.response.create(**asked(NEEDS_TOOL, tools=[TOOL]))
        response = _completed(connection)
        (call,) = (item for item in response.output if item.type == "function_call")
        output = call_tool(call.name, call.arguments)
        result = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        more = {"previous_response_id": response.id, "tools": [TOOL]}
        connection.response.create(**asked([result], **more))
        return {"text": _completed(connection).output_text}


def _completed(connection: Any) -> Any:
    for event in connection:
        if event.type == "response.completed":
            return event.response
        assert event.type not in ("error", "response.failed"), json.dumps(event.to_dict())
    raise AssertionError("the socket ended")


@case("responses/unknown model")
def _() -> dict[str, Any]:
    client.responses.create(**asked(QUESTION) | {"model": "gpt-5"})
    return {}


@case("responses/bad key")
def _() -> dict[str, Any]:
    client.with_options(api_key="wrong").responses.create(**asked(QUESTION))
    return {}


@case("models/listed")
def _() -> dict[str, Any]:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    return {"checked": True}


@case("completions/echo")
def _() -> dict[str, Any]:
    completion = client.completions.create(model=MODEL, prompt="2 + 3", max_tokens=4, echo=True)
    assert completion.choices[0].text.startswith("2 + 3")
    return {"checked": True}


if __name__ == "__main__":
    main("openai", side_by_side=4)
