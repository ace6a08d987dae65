from __future__ import annotations

import logging

import pytest

from ossia.errors import EngineClosedError, RequestError, StoreError
from ossia.server.api_error import ApiError
from ossia.server.failure_log import log_failure

LOG = logging.getLogger("ossia.test")


def _of_the_engine() -> ApiError:
    error = ApiError.of(EngineClosedError("the server ends"))
    error.__cause__ = EngineClosedError("the server ends")
    return error


@pytest.mark.parametrize(
    ("error", "status", "level", "has_traceback"),
    [
        (KeyError("x"), 500, logging.ERROR, True),
        (StoreError("disk full"), 500, logging.ERROR, True),
        (ApiError.internal("the completion failed: why"), 500, logging.WARNING, False),
        (EngineClosedError("the server ends"), 500, logging.INFO, False),
        (_of_the_engine(), 500, logging.INFO, False),
        (RequestError("no", field="n"), 400, None, False),
    ],
)
def test_what_the_log_says_of_a_failure(caplog, error, status, level, has_traceback):
    caplog.set_level(logging.DEBUG, LOG.name)
    assert log_failure(LOG, "a stream failed", error).status == status
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])
    assert all(bool(record.exc_info) is has_traceback for record in caplog.records)
