"""Server-side request forgery: where pages may be fetched from."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.tools.browser.addresses import is_public, public_address, resolve
from ossia.tools.browser.error import BrowserError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "localhost",
        "",
    ],
)
def test_addresses_inside_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are(address):
    assert is_public(address)


@given(st.ip_addresses())
def test_what_is_public_here_is_public_to_the_standard_library(address):
    if is_public(str(address)) and getattr(address, "ipv4_mapped", None) is None:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        translated = address in ipaddress.ip_network("64:ff9b::/96")
        assert inner.is_global if translated else address.is_global


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_what_it_stands_for(address):
    assert is_public(f"::ffff:{address}") == is_public(str(address))


def _address(*found, host="example.org"):
    async def resolver(name, port):
        assert (name, port) == (host, 443)
        return list(found)

    return asyncio.run(public_address(host, 443, resolver=resolver))


def test_a_name_with_one_address_inside_is_refused():
    assert _address("1.1.1.1", "2606:4700::1111") == "1.1.1.1"
    for found in (["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["1.1.1.1", "::1"]):
        with pytest.raises(BrowserError, match="not on the public internet"):
            _address(*found)


def test_a_name_without_an_address_is_not_found():
    with pytest.raises(BrowserError, match="cannot be found"):
        _address()


@pytest.mark.parametrize("host", ["127.1", "0x7f.0.0.1", "2130706433", "017700000001", "localhost"])
def test_the_systems_resolver_is_not_fooled_by_spelling(host):
    """Whatever such a host is to the resolver, it is judged by the address that comes out."""
    with pytest.raises(BrowserError):
        asyncio.run(public_address(host, 80, resolver=resolve))
