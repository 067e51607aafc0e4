"""Networks into which nothing is sent."""

import pytest

from monitor import networks

DENY = networks.parse(networks.METADATA)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::", "2001:0:a9fe:a9fe::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16",
        "100.100.100.200", "192.0.0.192", "fec0::1", "224.0.0.1", "ff02::1",
    ],
)  # fmt: skip
def test_metadata_services_are_forbidden_however_they_are_written(address: str) -> None:
    assert networks.forbidden(address, DENY) is not None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "100.64.0.1", "2001:db8::1", "a.host", ""]
)
def test_what_a_sidecar_speaks_to_is_not(address: str) -> None:
    assert networks.forbidden(address, DENY) is None


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="has host bits set"):
        networks.parse(["10.0.0.1/8"])
