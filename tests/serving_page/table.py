"""The blocks of docs/serving.md, in the page's order: how each is run, or why it cannot run here."""

from __future__ import annotations

from typing import Final

from guides.blocks import Block, source_of
from guides.running import ROOT

PAGE: Final = ROOT / "docs" / "serving.md"
ADDRESS: Final = "http://127.0.0.1:8000"
"""Of the server, on the page; the port may be taken where tests run."""

_PROXIES = "serving_page/test_proxies.py asks through it"
_PACKAGING = "needs a {}; serving_page/test_packaging.py checks the file behind it"
_ANSWER = "There are 3 rs in the word 'strawberry'."


def _plain(name: str, *shows: str, kind: str = "client") -> Block:
    return Block(guide="serving", name=name, kind=kind, shows=shows, scene="plain")


_IN_ORDER: Final = (
    Block(
        guide="serving", name="install", kind="shell",
        cannot="it takes minutes to install torch; `make` does the same for every other test",
    ),
    Block(guide="serving", name="serve", kind="server", scene="plain"),
    Block(guide="serving", name="serve a real model", kind="server", cannot="a download of 14 GB"),
    _plain("curl chat", '"finish_reason":"stop"', '"reasoning":"', '"role":"assistant"'),
    _plain("curl response", "event: response.created", "event: response.output_text.delta", "data: [DONE]"),
    _plain("curl models", '"id":"demo"', '"object":"response.input_tokens"'),
    _plain("openai", "There are 2 rs in the word 'berry'.", _ANSWER, kind="python client"),
    _plain("openai stream", "42", kind="python client"),
    _plain("openai tools", 'called with {"city":"Paris"}', "Result: city Paris, sky clear, temperature 19.", kind="python client"),
    _plain("openai structured", "count=", kind="python client"),
    Block(guide="serving", name="openai javascript", kind="client", saved_as="ask.mjs", scene="clients", shows=(_ANSWER,)),
    _plain("anthropic", "There are", kind="python client"),
    Block(guide="serving", name="agents", kind="client", scene="clients", shows=("Paris",)),
    Block(guide="serving", name="codex oss", kind="client", scene="agents", shows=("hello from the note",)),
    Block(guide="serving", name="codex settings", kind="file", saved_as="config.toml", scene="agents"),
    Block(guide="serving", name="codex", kind="client", scene="agents", shows=("hello from the note",)),
    Block(guide="serving", name="opencode settings", kind="file", saved_as="opencode.json", scene="agents"),
    Block(guide="serving", name="opencode", kind="client", scene="agents", shows=("hello from the note",)),
    Block(guide="serving", name="make a key", kind="shell", scene="keys"),
    Block(guide="serving", name="serve with keys", kind="server", scene="keys"),
    Block(guide="serving", name="curl with a key", kind="client", scene="keys", shows=('"id":"demo"',)),
    Block(guide="serving", name="hash a key", kind="shell", scene="keys"),
    Block(guide="serving", name="make a certificate", kind="shell", scene="tls"),
    Block(guide="serving", name="serve https", kind="server", scene="tls"),
    Block(guide="serving", name="curl https", kind="client", scene="tls", shows=('"id":"demo"',)),
    Block(guide="serving", name="options", kind="file", saved_as="serve.toml", scene="options"),
    Block(guide="serving", name="serve with options", kind="server", scene="options"),
    Block(guide="serving", name="curl an alias", kind="client", scene="options", shows=('"id":"gpt-oss-20b"',)),
    _plain("compact", "'compaction'", "42", kind="python client"),
    _plain("health", '"status":"ready"', '"version":', "ossia:time_to_first_token_seconds_bucket", "ossia:num_requests_running"),
    Block(guide="serving", name="prometheus", kind="file", cannot="no Prometheus; its settings are read by serving_page/test_packaging.py"),
    Block(guide="serving", name="systemd", kind="shell", cannot=_PACKAGING.format("running systemd")),
    Block(guide="serving", name="podman", kind="shell", cannot="serving_page/test_container.py runs it where there is Podman"),
    Block(guide="serving", name="nginx", kind="file", cannot=_PROXIES),
    Block(guide="serving", name="caddy", kind="file", cannot=_PROXIES),
)  # fmt: skip


def page() -> str:
    """The page."""
    return PAGE.read_text(encoding="utf-8")


def blocks(scene: str) -> list[tuple[Block, str]]:
    """The blocks of a scene in their order, each with its source."""
    return [(block, source(block.name)) for block in _IN_ORDER if block.scene == scene]


def source(name: str) -> str:
    """What a block says."""
    number = next(i for i, block in enumerate(_IN_ORDER) if block.name == name)
    numbered = Block(guide="serving", name=name, fence=number)
    return source_of(numbered, page()).strip()


def all_blocks() -> tuple[Block, ...]:
    """All of them, in the page's order."""
    return _IN_ORDER
