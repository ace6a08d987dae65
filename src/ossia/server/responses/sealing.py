"""Sealer: text that clients carry for us, such as reasoning, which they can neither read nor forge.

A sealed text is base64url of: a version byte, a nonce of 12 bytes, and AES-256-GCM over the
zlib-compressed UTF-8. The version, the purpose and the model are authenticated with it, so what was
sealed for one model or purpose opens for no other.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ossia.errors import StoreError
from ossia.server.store.private_folder import open_private

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_KEY_FILE: Final = "sealing.key"

REASONING: Final = "reasoning"  # purposes
COMPACTION: Final = "compaction"

MAX_SEALED_CHARS: Final = 24 * 2**20
MAX_TEXT_BYTES: Final = 16 * 2**20


class SealError(Exception):
    """A text that this server did not seal, not for this, or that is too large."""


class Sealer:
    """Seals and opens texts.

    Args:
        key: 32 bytes, kept secret.
        model: Name of the model; texts are bound to it.
    """

    def __init__(self, key: bytes, model: str) -> None:
        self._cipher = AESGCM(key)
        self._model = model.encode()

    @classmethod
    def of_folder(cls, folder: Path | None, model: str) -> Sealer:
        """With the key in a folder, made if there is none; without one, with a key of this process.

        Raises:
            OSError: the folder cannot be written, or the key cannot be read.
            StoreError: the key is a link, or another user's.
        """
        return cls(secrets.token_bytes(_KEY_BYTES) if folder is None else _kept_key(folder), model)

    def seal(self, text: str, purpose: str = REASONING) -> str:
        """Seal a text.

        Raises:
            SealError: it is too large.
        """
        plain = text.encode("utf-8", "replace")
        if len(plain) > MAX_TEXT_BYTES:
            raise SealError(f"the text is larger than {MAX_TEXT_BYTES} bytes")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, zlib.compress(plain, 6), self._bound_to(purpose))
        return base64.urlsafe_b64encode(_VERSION + nonce + sealed).decode()

    def open(self, sealed: str, purpose: str = REASONING) -> str:
        """The text that was sealed.

        Raises:
            SealError: it was not sealed by this server for this model and purpose, or is too large.
        """
        if len(sealed) > MAX_SEALED_CHARS:
            raise SealError(f"it is longer than {MAX_SEALED_CHARS} characters")
        try:
            raw = base64.urlsafe_b64decode(sealed.encode("ascii"))
        except (binascii.Error, ValueError):
            raise SealError("it is no base64url") from None
        if raw[:1] != _VERSION:
            raise SealError("it is of an unknown version")
        nonce, body = raw[1 : 1 + _NONCE_BYTES], raw[1 + _NONCE_BYTES :]
        try:
            packed = self._cipher.decrypt(nonce, body, self._bound_to(purpose))
        except (InvalidTag, ValueError):
            raise SealError("it was not made by this server for this model") from None
        return _unpacked(packed)

    def _bound_to(self, purpose: str) -> bytes:
        return b"\0".join((_VERSION, purpose.encode(), self._model))


def _unpacked(packed: bytes) -> str:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, MAX_TEXT_BYTES)
        if unpacker.unconsumed_tail:
            raise SealError(f"it holds more than {MAX_TEXT_BYTES} bytes")
        if not unpacker.eof:
            raise SealError("it holds no text")
        return plain.decode()
    except (zlib.error, UnicodeDecodeError):
        raise SealError("it holds no text") from None


def _kept_key(folder: Path) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _KEY_FILE
    if not file.exists():
        # Written aside and linked into place, so that of two servers that begin at once both get
        # the same whole key.
        aside = folder / f".{_KEY_FILE}.{secrets.token_hex(8)}"
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(secrets.token_bytes(_KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(aside, file)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    with os.fdopen(open_private(file, os.O_RDONLY), "rb") as kept:
        key = kept.read()
    if len(key) != _KEY_BYTES:
        raise OSError(f"{file} holds no key of {_KEY_BYTES} bytes; remove it to get a new one")
    for copy in folder.glob(f"*{_KEY_FILE}*"):
        with suppress(OSError, StoreError):  # nobody relies on it
            os.close(open_private(copy, os.O_RDONLY))
    return key
