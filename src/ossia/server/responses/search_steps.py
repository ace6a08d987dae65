"""What the store keeps of calls of the browser, so that later prompts can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ossia.api.events import ToolResult
from ossia.harmony import Author, Channel, Message, Role, TextContent
from ossia.tools.browser.page import Page, Source

JsonObject = dict[str, Any]

STEP: Final = "ossia_step"
"""The field of a kept `web_search_call`; clients never see it, and nothing is believed of theirs."""
_MAX_LINKS: Final = 300  # of a page, that can be followed later
_CODE: Final = "code"


def kept_step(arguments: str, result: ToolResult) -> JsonObject:
    """What is kept of a call.

    Args:
        arguments: As the model wrote them.
        result: What came of it; `about` is a `Step` of the browser, or None.
    """
    step = {"recipient": result.name, "arguments": arguments, "output": result.output}
    page = None if result.about is None else result.about.page
    return step if page is None else {**step, "page": _kept_page(page)}


def step_messages(step: Mapping[str, Any]) -> list[Message]:
    """The call and its result as the model reads them."""
    recipient, channel = step["recipient"], Channel.ANALYSIS.value
    return [
        Message(
            Author(Role.ASSISTANT), [TextContent(step["arguments"])], channel, recipient, _CODE
        ),
        Message(
            Author(Role.TOOL, recipient),
            [TextContent(step["output"])],
            channel,
            Role.ASSISTANT.value,
        ),
    ]


def shown_page(step: Mapping[str, Any]) -> Page | None:
    """The page that a step showed, without its text; None if it showed none."""
    page = step.get("page")
    if page is None:
        return None
    return Page(
        url=page["url"],
        title=page["title"],
        text="",
        links=tuple(page["links"]),
        sources=tuple((line, Source(url, title)) for line, url, title in page["sources"]),
        jumps=tuple(page["jumps"]),
        is_stub=True,
    )


def without_step(item: JsonObject) -> JsonObject:
    """An item as clients may see it."""
    if STEP not in item:
        return item
    return {name: value for name, value in item.items() if name != STEP}


def _kept_page(page: Page) -> JsonObject:
    return {
        "url": page.url,
        "title": page.title,
        "links": list(page.links[:_MAX_LINKS]),
        "sources": [[line, source.url, source.title] for line, source in page.sources],
        "jumps": list(page.jumps),
    }
