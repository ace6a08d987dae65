from __future__ import annotations

import asyncio
import datetime
import gzip
import ssl
import zlib
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.fetching import PageFetcher, checked_url
from support.fake_web import Answer, fake_web


@pytest.fixture
def web():
    with fake_web() as web:
        yield web


@asynccontextmanager
async def _fetcher(web, hosts=None, **options):
    """A fetcher to which every host of the test is this server."""

    async def resolver(host, port):
        del port
        return ["127.0.0.1"] if hosts is None else hosts[host]

    made = PageFetcher(
        **{"resolver": resolver, "allowed": lambda _: True, "ports": {web.port}, **options}
    )
    try:
        yield made
    finally:
        await made.close()


def _fetch(web, path="/", host="example.org", scheme="http", allows=None, **options):
    async def run():
        async with _fetcher(web, **options) as fetcher:
            more = {} if allows is None else {"allows": allows}
            return await fetcher.fetch(f"{scheme}://{host}:{web.port}{path}", **more)

    return asyncio.run(run())


def test_a_page_is_asked_for_under_its_name(web):
    web.pages["/a"] = Answer(b"<p>Hi", headers={"content-type": 'text/html; charset="utf-8"'})
    found = _fetch(web, "/a")
    assert (found.body, found.is_html, found.charset) == (b"<p>Hi", True, "utf-8")
    assert found.url == f"http://example.org:{web.port}/a"
    assert web.hosts == [f"example.org:{web.port}"]


def test_redirects_are_followed(web):
    web.pages["/a"] = Answer(status=302, headers={"location": "/b"})
    web.pages["/b"] = Answer(b"there", headers={"content-type": "text/plain"})
    found = _fetch(web, "/a")
    assert (found.body, found.is_html) == (b"there", False)
    assert found.url.endswith("/b")


def test_each_place_of_a_redirect_is_checked(web):
    inside = f"http://inside.example:{web.port}/secret"
    web.pages["/a"] = Answer(status=302, headers={"location": inside})
    web.pages["/secret"] = Answer(b"secret")
    hosts = {"example.org": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}
    with pytest.raises(BrowserError, match="not on the public internet"):
        _fetch(web, "/a", hosts=hosts, allowed=lambda one: one != "10.0.0.1")
    assert [one["path"] for one in web.asked] == ["/a"]


def test_redirects_leave_neither_the_web_nor_the_hosts_allowed(web):
    web.pages["/file"] = Answer(status=302, headers={"location": "file:///etc/passwd"})
    web.pages["/port"] = Answer(status=302, headers={"location": "http://example.org:22/"})
    web.pages["/host"] = Answer(status=302, headers={"location": f"http://other.org:{web.port}/"})
    for path, why in (
        ("/file", "no URL of a web page"),
        ("/port", "port 22"),
        ("/host", "allowed"),
    ):
        with pytest.raises(BrowserError, match=why):
            _fetch(web, path, allows=lambda host: host == "example.org")
    assert len(web.asked) == 3


def test_a_circle_of_redirects_ends(web):
    web.pages["/a"] = Answer(status=302, headers={"location": "/a"})
    with pytest.raises(BrowserError, match="too often"):
        _fetch(web, "/a")
    assert len(web.asked) == 6


def test_a_name_is_resolved_once_for_each_connection(web):
    """DNS rebinding: what was checked is what is connected to."""
    web.pages["/a"] = Answer(b"outside")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def resolver(host, port):
        del host, port
        return next(answers)

    found = _fetch(web, "/a", resolver=resolver, allowed=lambda one: one == "127.0.0.1")
    assert found.body == b"outside"
    assert next(answers) == ["127.0.0.2"]


def test_loopback_is_refused_without_being_asked(web):
    web.pages["/"] = Answer(b"secret")

    async def run():
        fetcher = PageFetcher(ports={web.port})
        try:
            await fetcher.fetch(web.address)
        finally:
            await fetcher.close()

    with pytest.raises(BrowserError, match="not on the public internet"):
        asyncio.run(run())
    assert web.asked == []


def test_large_documents_are_refused(web):
    web.pages["/a"] = Answer(b"x" * 2001)
    web.pages["/endless"] = Answer(b"x" * 100, endless=True)
    for path in ("/a", "/endless"):
        with pytest.raises(BrowserError, match="too large"):
            _fetch(web, path, max_bytes=2000)
    assert _fetch(web, "/a", max_bytes=2001).body == b"x" * 2001


@pytest.mark.parametrize(
    "squeeze", [gzip.compress, zlib.compress, lambda raw: zlib.compress(raw)[2:-4]]
)
def test_little_that_becomes_much_is_refused(web, squeeze):
    kind = "gzip" if squeeze is gzip.compress else "deflate"
    headers = {"content-type": "text/html", "content-encoding": kind}
    web.pages["/a"] = Answer(squeeze(b"x" * 2_000_000), headers=headers)
    web.pages["/b"] = Answer(squeeze(b"abc" * 20_000), headers=headers)
    with pytest.raises(BrowserError, match="too large"):
        _fetch(web, "/a", max_bytes=100_000)
    assert _fetch(web, "/b", max_bytes=100_000).body == b"abc" * 20_000


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip"])
def test_what_cannot_be_decompressed_is_refused(web, encoding):
    headers = {"content-type": "text/html", "content-encoding": encoding}
    web.pages["/a"] = Answer(b"abc", headers=headers)
    with pytest.raises(BrowserError, match="compressed"):
        _fetch(web, "/a")


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "application/octet-stream"])
def test_what_is_no_text_is_refused(web, kind):
    web.pages["/a"] = Answer(b"abc", headers={"content-type": kind})
    with pytest.raises(BrowserError, match="no text"):
        _fetch(web, "/a")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/rss+xml"])
def test_other_texts_are_taken(web, kind):
    web.pages["/a"] = Answer(b"abc", headers={"content-type": kind})
    assert not _fetch(web, "/a").is_html


def test_a_server_that_does_not_answer_is_given_up(web):
    silent = asyncio.Event()

    async def resolver(host, port):
        del host, port
        await silent.wait()

    with pytest.raises(BrowserError, match="too long"):
        _fetch(web, "/a", resolver=resolver, timeout=0.05)


def test_what_is_not_there_is_told(web):
    with pytest.raises(BrowserError, match="status 404"):
        _fetch(web, "/none")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "data:text/html,hi",
        "http://",
        "http:///path",
        "http://user:secret@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://example.org:22/",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org/\r\nHost: x",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1",
        "https://example.org/" + "a" * 3000,
    ],
)
def test_urls_that_are_not_plain_are_refused(url):
    with pytest.raises(BrowserError):
        checked_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "https://example.org:443/a?b#c",
        "https://bücher.example/",
        "http://1.1.1.1/",
    ],
)
def test_plain_urls_are_taken(url):
    assert checked_url(url).host


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for example.org, in a file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "example.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def test_the_certificate_must_be_for_the_name(certificate):
    """Although the connection goes to an address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    verify = ssl.create_default_context(cafile=str(certificate))
    with fake_web(context) as web:
        web.pages["/"] = Answer(b"sealed")
        assert _fetch(web, scheme="https", verify=verify).body == b"sealed"
        with pytest.raises(BrowserError, match=r"(?i)certificate"):
            _fetch(web, scheme="https", host="other.org", verify=verify)
