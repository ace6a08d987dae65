"""ChatClient: a chat with a server that speaks OpenAI's chat completions, streamed."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ossia.api.events import ReasoningDelta, TextDelta
from ossia.errors import RequestError, ServerError

Delta = ReasoningDelta | TextDelta
_TIMEOUT = 600.0  # seconds; a reasoning model may be silent for long


@dataclass(slots=True)
class ChatClient:
    """Remembers a chat and asks a server to go on with it.

    Args:
        address: "localhost:8000", or a URL; "/v1" is added where no path is given.
        model: The model's name; None asks the server for its first one.
        settings: Further members of each request, such as `temperature`.
        api_key: For the Authorization header.
        opening: Messages that begin each chat.

    Raises:
        RequestError: the address is none.
    """

    address: str
    model: str | None = None
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    api_key: str | None = None
    opening: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    messages: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def __post_init__(self) -> None:
        text = self.address if "://" in self.address else f"http://{self.address}"
        parts = urlsplit(text)
        try:
            port = parts.port
        except ValueError as error:
            raise RequestError(f"{self.address!r}: {error}", field="url") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(f"{self.address!r} is no address of a server", field="url")
        path = parts.path.rstrip("/") or "/v1"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"

    def reset(self) -> None:
        """Forget what was said."""
        self.messages.clear()

    def ask(self, text: str) -> Generator[Delta, None, None]:
        """Ask, and remember question and answer. Closed early, the text so far is the answer.

        Yields:
            Pieces as they come.

        Raises:
            ServerError: no answer, a refusal, or one that breaks off.
        """
        question = {"role": "user", "content": text}
        said = ""
        try:
            for delta in self._stream([*self.opening, *self.messages, question]):
                said += delta.text if isinstance(delta, TextDelta) else ""
                yield delta
        finally:
            if said:
                self.messages += [question, {"role": "assistant", "content": said}]

    def first_model(self) -> str:
        """The name of the first model that the server lists.

        Raises:
            ServerError: no answer, or no model.
        """
        with self._sent("GET", "/models", None) as response:
            listed = _parsed(response.read().decode(errors="replace"), "its list of models")
        entries = listed.get("data")
        if not (isinstance(entries, list) and entries and isinstance(entries[0], dict)):
            raise ServerError(f"{self.address} lists no model; name one")
        return str(entries[0].get("id"))

    def _stream(self, messages: list[dict[str, str]]) -> Iterator[Delta]:
        if self.model is None:
            self.model = self.first_model()
        body = {"model": self.model, "messages": messages, "stream": True, **self.settings}
        with self._sent("POST", "/chat/completions", body) as response:
            yield from self._read(response)

    def _read(self, response: HTTPResponse) -> Iterator[Delta]:
        if "event-stream" not in (response.headers.get("Content-Type") or ""):
            whole = _parsed(response.read().decode(errors="replace"), "its answer")
            yield from _deltas(whole, "message")
            return
        is_complete = False
        for line in response:
            name, _, value = line.decode(errors="replace").strip().partition(":")
            if name != "data":
                continue
            if value.strip() == "[DONE]":
                return
            event = _parsed(value, "an event")
            if event.get("error"):
                raise ServerError(f"{self.address}: {_told(event)}")
            yield from _deltas(event, "delta")
            is_complete |= any(choice.get("finish_reason") for choice in _choices(event))
        if not is_complete:
            raise ServerError(f"{self.address} broke off in the middle of the answer")

    @contextmanager
    def _sent(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> Generator[HTTPResponse, None, None]:
        """The answer to a request, while the block reads it."""
        parts = urlsplit(self.address)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
        }
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data = None if body is None else json.dumps(body).encode()
        with closing(make(parts.hostname or "", parts.port, timeout=_TIMEOUT)) as connection:
            try:
                connection.request(method, parts.path + path, data, headers)
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                why = error or type(error).__name__
                raise ServerError(
                    f"{self.address} cannot be reached ({why}); is it running?"
                ) from error
            with closing(response), _broken(self.address):
                if response.status != 200:
                    told = _told_by(response.read().decode(errors="replace"))
                    raise ServerError(f"{self.address} answered {response.status}: {told}")
                yield response


@contextmanager
def _broken(address: str) -> Generator[None, None, None]:
    """Transport errors within the block as Ossia's."""
    try:
        yield
    except ServerError:
        raise
    except (OSError, HTTPException) as error:
        raise ServerError(f"{address} broke off: {error or type(error).__name__}") from error


def _choices(event: dict[str, Any]) -> list[dict[str, Any]]:
    choices = event.get("choices")
    return [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []


def _deltas(event: dict[str, Any], name: str) -> Iterator[Delta]:
    for choice in _choices(event):
        said = choice.get(name) or {}
        for key in ("reasoning", "reasoning_content"):
            if said.get(key):
                yield ReasoningDelta(str(said[key]))
                break
        if said.get("content"):
            yield TextDelta(str(said["content"]))


def _parsed(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServerError(f"the server sent {what} that is no JSON object: {text.strip()[:80]!r}")
    return value


def _told_by(text: str) -> str:
    try:
        return _told(json.loads(text))
    except ValueError:
        return " ".join(text.split())[:200] or "nothing more"


def _told(value: Any) -> str:  # noqa: ANN401
    """The message of an error in either of the usual forms."""
    error = value.get("error", value.get("detail", value)) if isinstance(value, dict) else value
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:500]
