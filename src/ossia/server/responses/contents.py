"""Contents of input items as text: parts of all spellings; images and files refused or noted."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel
from ossia.server.openapi.described import DescribedAs


class TextPart(RequestModel):
    """A piece of text."""

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text"]
    text: str


class RefusalPart(RequestModel):
    """Words with which a model refused."""

    type: Literal["refusal"]
    refusal: str


class UnseenPart(RequestModel):
    """What the model cannot take in: refused, or a note in its place, as the server is set up."""

    type: Literal["input_image", "image_url", "computer_screenshot", "input_file", "file"]


Parts = Annotated[list[dict[str, Any]], DescribedAs(list[TextPart | RefusalPart | UnseenPart])]
"""As they are sent; `content_text` reads them."""

_TEXT_PARTS: Final = frozenset(get_args(TextPart.model_fields["type"].annotation))
_UNSEEN_PARTS: Final = {
    "input_image": "image",
    "image_url": "image",
    "computer_screenshot": "image",
    "input_file": "file",
    "file": "file",
}

OnImages = Literal["refuse", "note"]


def content_text(content: str | list[dict[str, Any]] | None, path: str, on_images: OnImages) -> str:
    """The text of a content, its parts put together.

    Args:
        content: A text or parts.
        path: Where it stands in the request.
        on_images: What to do with images and files, which the model cannot take in.

    Raises:
        ApiError: a part is of a kind that cannot be taken, or malformed.
    """
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(
        _part_text(part, f"{path}[{position}]", on_images) for position, part in enumerate(content)
    )


def _part_text(part: dict[str, Any], path: str, on_images: OnImages) -> str:
    given = part.get("type")
    kind = given if isinstance(given, str) else ""
    if kind == "refusal":
        return _text_field(part, "refusal", path)
    if kind in _TEXT_PARTS:
        return _text_field(part, "text", path)
    what = _UNSEEN_PARTS.get(kind)
    if what is None:
        raise ApiError(
            f"Invalid value for '{path}.type': {str(given)[:64]!r} parts are not taken; "
            "use input_text.",
            param=f"{path}.type",
            code="invalid_value",
        )
    if on_images == "refuse":
        raise ApiError(
            f"Invalid value for '{path}': the model reads text only and cannot take the {what}; "
            "leave it out.",
            param=path,
            code="unsupported_content",
        )
    return f"[{'An' if what == 'image' else 'A'} {what} stood here, which you cannot see.]"


def _text_field(part: dict[str, Any], name: str, path: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        where = f"{path}.{name}"
        raise ApiError(f"Invalid value for '{where}': it must be a string.", param=where)
    return text
