"""What a chat template is given: checked, and marked where its text is not to be trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ossia.api.argument_table import refuse_unknown
from ossia.api.tokenizing.arguments import CHAT_TEMPLATE
from ossia.errors import RequestError
from ossia.harmony.chat_template import ChatTemplate, Tool, as_schema
from ossia.harmony.template_sandbox import plain_data

Chat = Sequence[Mapping[str, Any]]
# Where the name of a special token may begin, be the rest of it here or in what follows.
_CONTROL = re.compile(r"<(?=\||\Z)")


def as_batch(conversation: Chat | Sequence[Chat]) -> tuple[list[Chat], bool]:
    """Chats, and whether there were several.

    Raises:
        RequestError: there is no message.
    """
    if not conversation:
        raise RequestError("there is no message", field="conversation")
    is_batched = isinstance(conversation[0], Sequence)
    chats = cast("Sequence[Chat]", conversation if is_batched else [conversation])
    # Many templates would write "None" where an API says that there is nothing.
    return [
        [{name: value for name, value in message.items() if value is not None} for message in chat]
        for chat in chats
    ], is_batched


def check_variables(
    template: ChatTemplate,
    documents: Sequence[Mapping[str, Any]] | None,
    tools: Sequence[Tool] | None,
    variables: Mapping[str, object],
) -> None:
    """Refuse what the template would ignore.

    Raises:
        RequestError: a variable, documents or tools that it does not ask for.
    """
    known = template.variables - {"messages"}
    for name, value in variables.items():
        if value is not None and name not in known:
            names = CHAT_TEMPLATE.names | known
            refuse_unknown(name, "apply_chat_template, nor a variable of the chat template", names)
    if documents and "documents" not in known:
        raise RequestError(
            "this chat template shows none; put their text into a message", field="documents"
        )
    if tools and "tools" not in known:
        raise RequestError("this chat template knows none; use another one", field="tools")


def marked(
    mark: str,
    chats: list[Chat],
    tools: Sequence[Tool] | None,
    documents: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, object],
) -> tuple[Any, Any, Any, Any]:
    """All that a template sees, as plain data with marks: what a docstring says is not trusted."""
    schemas = None if tools is None else [as_schema(tool) for tool in tools]
    inputs = (chats, schemas, documents, variables)
    return tuple(_marked(plain_data(value), mark) for value in inputs)  # type: ignore[return-value]


def _marked(value: object, mark: str) -> object:
    """A copy with names of special tokens broken up by the mark, so that they are none."""
    match value:
        case str():
            return _CONTROL.sub(f"<{mark}", value)
        case Mapping():
            return {_marked(key, mark): _marked(item, mark) for key, item in value.items()}
        case list() | tuple():
            return [_marked(item, mark) for item in value]
        case _:
            return value
