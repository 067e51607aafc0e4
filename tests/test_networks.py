"""Networks into which nothing is sent."""

import pytest
import requests

from monitor import dialing, networks
from tests.harness.target import Target

DENY = networks.parse(networks.METADATA)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::", "2001:0:a9fe:a9fe::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16",
        "100.100.100.200", "192.0.0.192", "fec0::1", "224.0.0.1", "ff02::1",
        "::ffff:0:169.254.169.254", "64:ff9b:1:a9fe:a9:fe00::", "2001:db8::5efe:169.254.169.254",
        "2001:db8::200:5efe:169.254.169.254", "192.0.0.8", "240.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_metadata_services_are_forbidden_however_they_are_written(address: str) -> None:
    assert networks.forbidden(address, DENY) is not None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.168.1.1",
        "fd00::1",
        "100.64.0.1",
        "2001:db8::1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2001:db8::5efe:10.0.0.1",
        "a.host",
        "",
    ],
)
def test_what_a_sidecar_speaks_to_is_not(address: str) -> None:
    assert networks.forbidden(address, DENY) is None


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="has host bits set"):
        networks.parse(["10.0.0.1/8"])


def test_a_session_of_spans_sends_nothing_into_a_denied_network() -> None:
    with Target() as target, dialing.session(networks.parse(["10.0.0.0/8"])) as allowed:
        assert allowed.post(target.url, b"span", timeout=5).status_code == 200
        for name in ("127.0.0.1", "localhost", "0x7f.1"):
            with (
                dialing.session(networks.parse(["127.0.0.0/8"])) as denied,
                pytest.raises((requests.RequestException, dialing.ForbiddenAddressError)),
            ):
                denied.post(target.url.replace("127.0.0.1", name), b"span", timeout=5)
        assert [request.body for request in target.heard] == [b"span"]
