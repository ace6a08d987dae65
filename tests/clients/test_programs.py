"""What a user of each client sees of `ossia serve demo`."""

from __future__ import annotations

import pytest

from clients.catalogue import CLIENTS, Client
from clients.judging import judge
from clients.running import run
from clients.servers import KEY

_CLIENTS = [
    pytest.param(
        client,
        marks=[pytest.mark.clients] if client.is_installed_apart else [],
        id=client.name,
    )
    for client in CLIENTS
]


@pytest.mark.parametrize("client", _CLIENTS)
def test_a_user_of(client: Client, demo_server, exercising, request):
    apart = client.is_installed_apart
    folder = request.getfixturevalue("clients_folder") if apart else None
    told = run(client, folder, demo_server, KEY)
    # A client comes with others' packages, whose versions matter as much.
    versions = ", ".join(f"{name} {version}" for name, version in told.versions.items())
    failures = {}
    for case in client.cases:
        try:
            with exercising(client.name, versions, case):
                assert case in told.cases, told.rest
                judge(case, told.cases[case])
        except AssertionError as failure:
            failures[case] = str(failure)
    assert failures == {}, "\n\n".join(f"{case}: {why}" for case, why in failures.items())
