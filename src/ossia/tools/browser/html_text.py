"""HTML to the text that gpt-oss was trained to read: links as `【id†text†host】`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urldefrag, urljoin, urlsplit

if TYPE_CHECKING:
    from lxml.etree import _Element

MAX_TEXT: Final = 400_000  # characters of a page
_MAX_STEPS: Final = 400_000  # two for each element
_SKIPPED: Final = frozenset(
    {"head", "math", "noscript", "object", "script", "style", "svg", "template"}
)
_PARAGRAPHS: Final = frozenset(
    {"article", "blockquote", "dl", "figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
    | {"ol", "p", "pre", "section", "table", "ul"}
)
_LINES: Final = frozenset(
    {"address", "aside", "body", "br", "button", "caption", "dd", "div", "dt", "fieldset"}
    | {"figcaption", "footer", "header", "html", "legend", "li", "main", "nav", "option", "tr"}
)
_SPACE: Final = re.compile(r"[ \t\n\r\f\v\u00a0]+")
_GAPS: Final = re.compile(r"\n{3,}")
_BRACKETS: Final = str.maketrans({"†": "‡", "【": "〖", "】": "〗"})
"""What has a meaning in what the model reads must not come from the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """A page as text.

    Args:
        title: Of the page; empty if it has none.
        text: Lines.
        links: Where the links lead to, by their ids.
    """

    title: str
    text: str
    links: tuple[str, ...] = ()


def page_text(body: bytes, url: str, charset: str | None = None) -> PageText:
    """The text of an HTML page.

    Args:
        body: The page.
        url: Where it was found; links are resolved against it.
        charset: Its encoding, if the server said so.
    """
    from lxml import etree, html  # pyright: ignore[reportAttributeAccessIssue] - it has no types

    body, encoding = _in_utf8(body, charset)
    parser = html.HTMLParser(
        encoding=encoding, remove_comments=True, remove_pis=True, no_network=True
    )
    try:
        root = html.document_fromstring(body, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):  # empty, or nothing like HTML
        return PageText(title="", text="")
    base = root.find(".//base[@href]")
    writer = _Writer(url if base is None else _joined(url, str(base.get("href"))) or url)
    writer.walk(root)
    title = root.find(".//title")
    named = "" if title is None else "".join(title.itertext())
    return PageText(title=plain(named), text=writer.text, links=tuple(writer.links))


def plain(text: str) -> str:
    """A text of the web on one line, without what would look like a link or a citation."""
    return _SPACE.sub(" ", text.translate(_BRACKETS)).strip()


def link(link_id: int, text: str, host: str | None) -> str:
    """A link as the model reads it; `host` is None on its own site."""
    return f"【{link_id}†{text}】" if host is None else f"【{link_id}†{text}†{host}】"


def host_of(url: str) -> str:
    """The host of a URL; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@dataclass(slots=True)
class _Writer:
    """Walks a tree without recursion, since pages may be nested as deep as they like."""

    base: str
    links: list[str] = field(default_factory=list[str])
    _ids: dict[str, int] = field(default_factory=dict[str, int])
    _pieces: list[str] = field(default_factory=list[str])
    _length: int = 0
    _num_images: int = 0
    _num_steps: int = 0
    _skipping: Any = None
    _preformatted: int = 0
    _anchors: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def walk(self, root: _Element) -> None:
        from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

        for event, element in etree.iterwalk(root, events=("start", "end")):
            self._num_steps += 1
            if self._length > MAX_TEXT or self._num_steps > _MAX_STEPS:
                break
            if event == "start":
                self._start(element)
            else:
                self._end(element)

    @property
    def text(self) -> str:
        """All that was written, with one empty line at most between two paragraphs."""
        lines = [line.rstrip() for line in "".join(self._pieces).split("\n")]
        return _GAPS.sub("\n\n", "\n".join(lines)).strip("\n")[:MAX_TEXT]

    def _start(self, element: _Element) -> None:
        if self._skipping is not None:
            return
        tag = str(element.tag)
        if tag in _SKIPPED or element.get("hidden") is not None:
            self._skipping = element
            return
        self._before(tag, element)
        self._write(element.text)

    def _end(self, element: _Element) -> None:
        if self._skipping is element:
            self._skipping = None
        elif self._skipping is None:
            self._behind(str(element.tag), element)
        if self._skipping is None:
            self._write(element.tail)

    def _before(self, tag: str, element: _Element) -> None:
        self._begin_line(tag)
        match tag:
            case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
                self._put("#" * int(tag[1]) + " ")
            case "li":
                self._put("  * ")
            case "pre":
                self._preformatted += 1
            case "a":
                self._anchors.append((str(element.get("href") or ""), len(self._pieces)))
            case "img" if alt := plain(str(element.get("alt") or "")):
                self._put(f"[Image {self._num_images}: {alt}]")
                self._num_images += 1
            case "td" | "th" if element.getprevious() is not None:
                self._put(" | ")
            case "sup" | "sub":
                self._put("^{" if tag == "sup" else "_{")
            case _:
                pass

    def _behind(self, tag: str, element: _Element) -> None:
        match tag:
            case "a":
                href, begin = self._anchors.pop()
                if not self._anchors:  # no link stands in another
                    self._end_link(href, begin)
            case "pre":
                self._preformatted -= 1
            case "sup" | "sub":
                self._put("}")
            case _:
                pass
        self._begin_line(tag)

    def _end_link(self, href: str, begin: int) -> None:
        """Put what stands in a link into brackets, unless it leads nowhere."""
        target = _joined(self.base, href) if href and not href.startswith("#") else ""
        inner = "".join(self._pieces[begin:])
        text = plain(inner.replace("\n", " "))
        if not target or not text or "【" in inner:
            return
        link_id = self._ids.setdefault(target, len(self.links))
        if link_id == len(self.links):
            self.links.append(target)
        host = host_of(target)
        del self._pieces[begin:]
        lead = inner[: len(inner) - len(inner.lstrip())]
        trail = inner[len(inner.rstrip()) :]
        self._put(lead + link(link_id, text, None if host == host_of(self.base) else host) + trail)

    def _write(self, text: str | None) -> None:
        if not text:
            return
        text = text.translate(_BRACKETS)
        if self._preformatted:
            self._put(text)
            return
        text = _SPACE.sub(" ", text)
        last = self._pieces[-1] if self._pieces else "\n"
        if last.endswith(("\n", " ")):
            text = text.lstrip(" ")
        if text:
            self._put(text)

    def _put(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)

    def _begin_line(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._break(2)
        elif tag in _LINES:
            self._break(1)

    def _break(self, num_lines: int) -> None:
        last = "".join(self._pieces[-3:])
        have = len(last) - len(last.rstrip("\n"))
        if self._pieces and have < num_lines:
            self._put("\n" * (num_lines - have))


def _joined(base: str, href: str) -> str:
    """Which page a link leads to; empty if that is none of the web."""
    try:
        target, _ = urldefrag(urljoin(base, href.strip()))
    except ValueError:
        return ""
    return target if target.startswith(("http://", "https://")) else ""


def _in_utf8(body: bytes, charset: str | None) -> tuple[bytes, str | None]:
    """A page and its encoding; None leaves that to what the page says of itself."""
    if charset is not None:
        try:
            return body.decode(charset, errors="replace").encode(errors="replace"), "utf-8"
        except (LookupError, ValueError):  # not known, or not for text
            pass
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return body, None
    return body, "utf-8"
