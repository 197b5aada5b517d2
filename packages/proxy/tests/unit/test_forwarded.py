"""Whose address a request has, where proxies stand in front of the service."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter_proxy.middleware.forwarded import TrustedProxies

pytestmark = pytest.mark.unit

NETWORKS = ["10.0.0.5/32", "192.168.0.0/16", "fd00::/8"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "sender"),
    [
        ("10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["1.1.1.1, 203.0.113.9, 192.168.3.4"], "203.0.113.9"),
        ("10.0.0.5", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.5", ["2001:db8::9"], "2001:db8::9"),
        ("10.0.0.5", ["[2001:db8::9]:4711"], "2001:db8::9"),
        ("10.0.0.5", ['"[2001:db8::9]"'], "2001:db8::9"),
        ("fd00::1", ["2001:DB8:0::9"], "2001:db8::9"),
        ("::ffff:10.0.0.5", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["192.168.0.1, 192.168.0.2"], "192.168.0.1"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", [""], "10.0.0.5"),
        ("10.0.0.5", ["203.0.113.9, unknown"], "10.0.0.5"),
        ("10.0.0.5", ["203.0.113.9, unknown, 192.168.0.1"], "192.168.0.1"),
        ("10.0.0.6", ["203.0.113.9"], "10.0.0.6"),
        ("203.0.113.9", ["10.0.0.5"], "203.0.113.9"),
        ("", ["203.0.113.9"], ""),
        ("testclient", ["203.0.113.9"], "testclient"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_counts(
    peer: str, forwarded: list[str], sender: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert TrustedProxies(NETWORKS).sender(peer, headers) == sender


def test_nobody_is_believed_unless_named() -> None:
    assert TrustedProxies().sender("10.0.0.5", [(b"x-forwarded-for", b"1.1.1.1")]) == "10.0.0.5"


def test_a_long_list_is_not_read_to_its_start() -> None:
    listed = b"1.1.1.1, " + b"192.168.0.1, " * 5000 + b"192.168.0.2"
    sender = TrustedProxies(NETWORKS).sender("10.0.0.5", [(b"x-forwarded-for", listed)])
    assert sender == "192.168.0.1"


@settings(max_examples=200)
@given(made_up=st.binary(max_size=60), own=st.ip_addresses())
def test_what_a_client_makes_up_changes_nothing(made_up: bytes, own: object) -> None:
    """Whatever it sends, the trusted proxy appends whom it was called by."""
    proxies = TrustedProxies(["10.0.0.5/32"])
    listed = made_up + f", {own}".encode()
    alone = proxies.sender("10.0.0.5", [(b"x-forwarded-for", str(own).encode())])
    assert proxies.sender("10.0.0.5", [(b"x-forwarded-for", listed)]) == alone
