"""What HTTPS is served with."""

from __future__ import annotations

import ssl
from pathlib import Path

from ossia.errors import ConfigError
from ossia.server.settings import ServerSettings

_PRIVATE_KEY = b"PRIVATE KEY-----"


def check_tls(settings: ServerSettings) -> None:
    """See whether the certificate and its key can be used, if HTTPS is served.

    Raises:
        ConfigError: they cannot; names the option and the file.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or any(one is not None and one.is_fifo() for one in (certificate, key)):
        return  # a pipe can be read once only
    text = _read("tls_certificate", certificate)
    if b"CERTIFICATE-----" not in text:
        raise ConfigError(
            f"tls_certificate: {certificate} holds no certificate in PEM form "
            "(-----BEGIN CERTIFICATE-----)"
        )
    if key is None:
        if _PRIVATE_KEY not in text:
            raise ConfigError(
                f"tls_key is not given, and {certificate} (tls_certificate) holds no private key"
            )
    else:
        text = _read("tls_key", key)
        if _PRIVATE_KEY not in text:
            raise ConfigError(
                f"tls_key: {key} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
            )
    if b"ENCRYPTED" not in text:  # or its pass phrase would be asked for twice
        _load(certificate, key)


def _read(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {file}: {error.strerror}") from error


def _load(certificate: Path, key: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"tls_key: {key or certificate} is not the key of the first certificate in "
                f"{certificate} (tls_certificate)"
            ) from error
        raise ConfigError(
            f"tls_certificate, tls_key: {certificate}{f' and {key}' if key else ''} cannot be "
            f"used: {error.reason or error}"
        ) from error
