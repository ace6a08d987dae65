"""PageFetcher: documents of the public web, bounded in size and time."""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ossia.tools.browser.addresses import Resolver, is_public, public_address, resolve
from ossia.tools.browser.error import BrowserError

if TYPE_CHECKING:
    import httpx2

USER_AGENT: Final = "Mozilla/5.0 (compatible; Ossia)"
_MAX_REDIRECTS: Final = 5
_MAX_URL: Final = 2048  # characters
_PORTS: Final = frozenset({80, 443})
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_TEXT: Final = re.compile(r"text/.*|application/(.+\+)?(json|xml|yaml)|application/javascript")
_ODD_CHARACTERS: Final = re.compile(r"[\x00-\x20\x7f\\]")
_NUMERIC: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_CANONICAL: Final = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a URL led to.

    Args:
        url: Where it was in the end.
        body: Its bytes, decompressed.
        is_html: Whether it is HTML; else it is plain text.
        charset: Of the text, if the server said so.
    """

    url: str
    body: bytes
    is_html: bool
    charset: str | None = None


class PageFetcher:
    """Gets documents; redirects are followed, and each of their places is checked anew.

    Args:
        timeout: Seconds for a document, redirects and all.
        max_bytes: Of a document, before and after decompression.
        resolver: Gives the addresses of hosts.
        allowed: Which addresses may be connected to.
        ports: Which ports may be.
        verify: Which certificates are believed; True is what the system believes.
    """

    def __init__(
        self,
        *,
        timeout: float = 20.0,
        max_bytes: int = 4 * 2**20,
        resolver: Resolver = resolve,
        allowed: Callable[[str], bool] = is_public,
        ports: Collection[int] = _PORTS,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        import httpx2

        self._timeout = timeout
        self._max_bytes = max_bytes
        self._resolver = resolver
        self._allowed = allowed
        self._ports = ports
        # Proxies of the environment would resolve names once more, behind the check. A connection
        # must not be kept either: it would be found by its address, whatever host it was for.
        self._client = httpx2.AsyncClient(
            trust_env=False,
            verify=verify,
            follow_redirects=False,
            timeout=timeout,
            limits=httpx2.Limits(max_keepalive_connections=0),
            headers={"user-agent": USER_AGENT, "accept-encoding": "gzip, deflate"},
        )

    async def fetch(self, url: str, allows: Callable[[str], bool] = lambda _host: True) -> Document:
        """Get a document.

        Args:
            url: http or https.
            allows: Says which hosts may be asked.

        Raises:
            BrowserError: it cannot or must not be had; says why.
        """
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(_MAX_REDIRECTS + 1):
                    found = await self._get(checked_url(url, self._ports), allows)
                    if isinstance(found, Document):
                        return found
                    url = found
        except TimeoutError:
            raise BrowserError(f"{url[:200]} took too long to answer") from None
        raise BrowserError(f"{url[:200]} redirects too often")

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def _get(self, url: httpx2.URL, allows: Callable[[str], bool]) -> Document | str:
        """One request; gives where a redirect leads to."""
        import httpx2

        if not allows(url.host):
            raise BrowserError(f"the host {url.host[:100]!r} is not among those allowed")
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await public_address(
            url.host, port, resolver=self._resolver, allowed=self._allowed
        )
        request = self._client.build_request(
            "GET",
            # The connection goes to the very address that was checked; the certificate must be for
            # the name all the same.
            url.copy_with(host=address),
            headers={"host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.host},
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                if response.has_redirect_location:
                    return str(url.join(response.headers["location"]))
                return await self._document(url, response)
            finally:
                await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            what = str(error) or type(error).__name__
            raise BrowserError(f"{str(url)[:200]} cannot be read: {what[:200]}") from None

    async def _document(self, url: httpx2.URL, response: httpx2.Response) -> Document:
        if response.status_code != 200:
            raise BrowserError(f"{str(url)[:200]} answers with status {response.status_code}")
        kind, _, rest = response.headers.get("content-type", "text/html").partition(";")
        kind = kind.strip().lower()
        if kind not in _HTML and _TEXT.fullmatch(kind) is None:
            raise BrowserError(f"{str(url)[:200]} is no text but {kind[:100]!r}")
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        raw = bytearray()
        async for chunk in response.aiter_raw():
            raw += chunk
            if len(raw) > self._max_bytes:
                raise BrowserError(f"{str(url)[:200]} is too large")
        return Document(
            url=str(url),
            body=self._inflated(bytes(raw), encoding, url),
            is_html=kind in _HTML,
            charset=_charset(rest),
        )

    def _inflated(self, raw: bytes, encoding: str, url: httpx2.URL) -> bytes:
        """Decompressed no further than the limit: a little can become a lot."""
        if encoding in ("", "identity"):
            return raw
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BrowserError(f"{str(url)[:200]} is compressed in a way that was not asked for")
        bare = encoding == "deflate" and raw[:1] != b"\x78"  # some servers leave the frame out
        inflater = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
        try:
            body = inflater.decompress(raw, self._max_bytes)
        except zlib.error:
            raise BrowserError(f"{str(url)[:200]} cannot be decompressed") from None
        if inflater.unconsumed_tail:
            raise BrowserError(f"{str(url)[:200]} is too large")
        return body


def checked_url(text: str, ports: Collection[int] = _PORTS) -> httpx2.URL:
    """A URL that says plainly where it leads.

    Raises:
        BrowserError: it does not, or leads where pages are not.
    """
    import httpx2

    if len(text) > _MAX_URL or _ODD_CHARACTERS.search(text):
        raise BrowserError(f"{text[:200]!r} is no URL")
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise BrowserError(f"{text[:200]!r} is no URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise BrowserError(f"{text[:200]!r} is no URL of a web page; it must begin with https://")
    if url.userinfo:
        raise BrowserError(f"{url.host[:100]!r} is named with a user; leave that out")
    if (url.port or 443) not in ports and url.port is not None:
        raise BrowserError(f"port {url.port} is none of web pages")
    # 2130706433, 0x7f.1 and 127.1 are the address 127.0.0.1 to some and a name to others.
    last_label = url.host.rstrip(".").rpartition(".")[2]
    if (
        ":" not in url.host
        and _NUMERIC.fullmatch(last_label)
        and not _CANONICAL.fullmatch(url.host)
    ):
        raise BrowserError(f"{url.host[:100]!r} is an odd way to write an address")
    return url


def _charset(parameters: str) -> str | None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None
