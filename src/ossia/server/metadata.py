"""Metadata that clients attach to what is stored: its limits are the hosted API's."""

from __future__ import annotations

from collections.abc import Mapping

from ossia.server.api_error import ApiError

_MAX_PAIRS = 16
_MAX_KEY = 64  # characters
_MAX_VALUE = 512  # characters


def check_metadata(metadata: Mapping[str, str] | None) -> None:
    """Refuse what is too large.

    Raises:
        ApiError: 400.
    """
    if metadata is None:
        return
    if len(metadata) > _MAX_PAIRS:
        raise ApiError(
            f"Invalid value for 'metadata': more than {_MAX_PAIRS} pairs.", param="metadata"
        )
    for key, value in metadata.items():
        if len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
            raise ApiError(
                f"Invalid value for 'metadata': keys have at most {_MAX_KEY} characters, "
                f"values {_MAX_VALUE}.",
                param="metadata",
            )
