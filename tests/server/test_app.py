from __future__ import annotations

import json
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ossia.server.app import create_app
from ossia.server.service import ServiceState
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.http_server import serving
from support.scripted_service import ScriptedService


@pytest.fixture(scope="module")
def service():
    return ScriptedService()


@pytest.fixture(scope="module")
def address(service):
    with serving(create_app(ServerState(settings=ServerSettings(), service=service))) as address:
        yield address


def _get(url: str, method: str = "GET"):
    try:
        with urlopen(Request(url, method=method), timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.status, json.loads(error.read())


def test_health_and_readiness_follow_the_model(address, service):
    assert _get(f"{address}/health")[0] == 200
    assert _get(f"{address}/ready")[0] == 200
    service.state = ServiceState.LOADING
    try:
        assert _get(f"{address}/health")[0] == 200
        assert _get(f"{address}/ready")[0] == 503
        service.state = ServiceState.FAILED
        assert _get(f"{address}/health")[0] == 503
    finally:
        service.state = ServiceState.READY


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/", "/nothing", "/v2/models"])
def test_what_is_not_offered_is_said_in_the_hosted_shape(address, path):
    status, body = _get(address + path)
    assert status == 404
    assert body["error"]["code"] == "not_offered"
    assert path in body["error"]["message"]


def test_wrong_methods_are_refused_in_the_hosted_shape(address):
    status, body = _get(f"{address}/health", "DELETE")
    assert status == 405
    assert body["error"]["type"] == "invalid_request_error"


def test_the_process_that_speaks_http_loads_no_torch():
    code = "import sys, ossia.server.launch; print(sorted({'torch', 'numpy', 'triton'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
