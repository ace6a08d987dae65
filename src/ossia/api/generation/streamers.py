"""Streamers: where tokens go while `generate` is still at work.

`generate` calls `put` with the prompt and then with each token, `end` when it is done, and `fail`
instead when it raises. Streamers written for transformers need no `fail`.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import torch

from ossia.errors import RequestError

_UNFINISHED = "\ufffd"  # what decoders write for a character whose bytes are not all there
_LONG, _CONTEXT = 32, 8  # tokens: how many are decoded again and again, how many of them stay


_Piece = str | BaseException | None


class _Decoder(Protocol):
    def decode(self, token_ids: list[int], **kwargs: Any) -> str: ...


class BaseStreamer:
    """Base of what takes tokens."""

    def put(self, value: torch.Tensor) -> None:
        """Take ids: first the prompt's (rows, seq), then those of each step (rows,)."""
        raise NotImplementedError(f"{type(self).__name__} has no put")

    def end(self) -> None:
        """Nothing follows."""
        raise NotImplementedError(f"{type(self).__name__} has no end")

    def fail(self, error: BaseException) -> None:
        """Nothing follows, because `generate` raises this."""


class TextStreamer(BaseStreamer):
    """Prints the text of one continuation as it comes; never part of a character.

    Args:
        tokenizer: Anything with `decode(ids, **kwargs)`, of the model.
        skip_prompt: Leave the prompt out.
        decode_kwargs: For `decode`, such as `skip_special_tokens=True`.
    """

    def __init__(
        self,
        tokenizer: _Decoder,
        skip_prompt: bool = False,
        **decode_kwargs: Any,
    ) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self.token_cache: list[int] = []
        self.print_len = 0  # characters of the cache's text that were given out
        self.next_tokens_are_prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Take ids (seq,) or (1, seq).

        Raises:
            RequestError: more than one row.
        """
        rows = torch.as_tensor(value)
        if rows.dim() > 1 and len(rows) > 1:
            raise RequestError("shows one continuation, not several", field="streamer")
        is_prompt, self.next_tokens_are_prompt = self.next_tokens_are_prompt, False
        if is_prompt and self.skip_prompt:
            return
        self.token_cache += rows.reshape(-1).tolist()
        text = self._decode()
        # A cut character decodes to one replacement character, and only the last can be cut.
        whole = len(text) - text.endswith(_UNFINISHED)
        piece, self.print_len = text[self.print_len : whole], max(whole, self.print_len)
        if whole == len(text) and len(self.token_cache) > _LONG:
            self.token_cache = self.token_cache[-_CONTEXT:]
            self.print_len = len(self._decode())
        if piece:
            self.on_finalized_text(piece)

    def end(self) -> None:
        """Give out what was held back."""
        rest = self._decode()[self.print_len :]
        self._reset()
        self.on_finalized_text(rest, stream_end=True)

    def fail(self, error: BaseException) -> None:
        """Forget what was held back."""
        self._reset()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print; to be overridden by who wants the text elsewhere.

        Args:
            text: What is new; may be empty at the end.
            stream_end: Nothing follows.
        """
        print(text, end="\n" if stream_end else "", flush=True)  # noqa: T201

    def _decode(self) -> str:
        if not self.token_cache:
            return ""
        return self.tokenizer.decode(self.token_cache, **self.decode_kwargs)

    def _reset(self) -> None:
        self.token_cache, self.print_len, self.next_tokens_are_prompt = [], 0, True


class _QueuedText(TextStreamer):
    """Hands pieces of text over to who iterates, then None or what `generate` raised.

    Args:
        tokenizer: As for TextStreamer.
        skip_prompt: As for TextStreamer.
        timeout: Seconds to wait for a piece; None waits for ever.
        decode_kwargs: As for TextStreamer.
    """

    def __init__(
        self,
        tokenizer: _Decoder,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.stop_signal = None
        self.timeout = timeout
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def _send(self, value: _Piece) -> None:
        raise NotImplementedError

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Queue it, from whichever thread."""
        if text:
            self._send(text)
        if stream_end:
            self._send(self.stop_signal)

    def fail(self, error: BaseException) -> None:
        """Raise it where the iteration stands."""
        super().fail(error)
        self._send(error)


class TextIteratorStreamer(_QueuedText):
    """Iterates over the pieces of text, while `generate` runs in another thread.

    If that raises, so does the iteration, instead of waiting for ever.

    Args:
        tokenizer: As for TextStreamer.
        skip_prompt: As for TextStreamer.
        timeout: Seconds to wait for a piece; None waits for ever.
        decode_kwargs: As for TextStreamer.
    """

    def _open(self) -> None:
        self.text_queue: queue.Queue[_Piece] = queue.Queue()

    def _send(self, value: _Piece) -> None:
        self.text_queue.put(value)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next piece.

        Raises:
            queue.Empty: none came within the timeout.
            BaseException: what `generate` raised.
        """
        value = self.text_queue.get(timeout=self.timeout)
        if value is None:
            raise StopIteration
        return _text_of(value)


class AsyncTextIteratorStreamer(_QueuedText):
    """The same for `async for`; made in the event loop that iterates.

    Args:
        tokenizer: As for TextStreamer.
        skip_prompt: As for TextStreamer.
        timeout: Seconds to wait for a piece; None waits for ever.
        decode_kwargs: As for TextStreamer.
    """

    def _open(self) -> None:
        self.text_queue: asyncio.Queue[_Piece] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    def _send(self, value: _Piece) -> None:
        try:
            self.loop.call_soon_threadsafe(self.text_queue.put_nowait, value)
        except RuntimeError:
            if not self.loop.is_closed():  # a closed loop has nobody who listens
                raise

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        """The next piece.

        Raises:
            TimeoutError: none came within the timeout.
            BaseException: what `generate` raised.
        """
        async with asyncio.timeout(self.timeout):
            value = await self.text_queue.get()
        if value is None:
            raise StopAsyncIteration
        return _text_of(value)


def _text_of(value: str | BaseException) -> str:
    if isinstance(value, BaseException):
        raise value
    return value
