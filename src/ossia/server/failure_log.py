"""log_failure: what the log says of a request that has failed."""

from __future__ import annotations

import logging
from http import HTTPStatus

from ossia.errors import EngineClosedError
from ossia.server.api_error import ApiError


def log_failure(log: logging.Logger, what: str, error: Exception) -> ApiError:
    """Log a failure of the server's: with a traceback unless the cause is known.

    That the engine has ended is no more than a note: it does with the server, and else the log has
    said why.

    Returns:
        What the client is told.
    """
    told = ApiError.of(error)
    if told.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return told
    if isinstance(error, EngineClosedError) or isinstance(error.__cause__, EngineClosedError):
        log.info("%s: %s", what, error)
    elif isinstance(error, ApiError):
        log.warning("%s: %s", what, error)
    else:
        log.error(what, exc_info=error)
    return told
