"""Networks that we never open a connection into, whatever name or spelling leads there."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = (
    "169.254.0.0/16",  # link-local: the metadata services of most clouds
    "fe80::/10",
    "fec0::/10",
    "fd00:ec2::254/128",  # Amazon's, over IPv6
    "fd20:ce::254/128",  # Google's, over IPv6
    "100.100.100.200/32",  # Alibaba's
    "168.63.129.16/32",  # Azure's
    "192.0.0.192/32",  # Oracle's
    "224.0.0.0/4",
    "ff00::/8",
    "255.255.255.255/32",
)
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def parse(values: Iterable[str]) -> tuple[Network, ...]:
    """Return networks from their texts; raise ValueError for what is none."""
    return tuple(ipaddress.ip_network(value) for value in values)


def forbidden(address: str, networks: Iterable[Network]) -> Network | None:
    """Return the network that forbids an address, None where none does or the text is no address.

    An IPv4 address within an IPv6 one (mapped, compatible, NAT64, 6to4, Teredo) is looked at as well.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    meant = _meant(found)
    return next((one for one in networks if any(each.version == one.version and each in one for each in meant)), None)


def _meant(address: Address) -> list[Address]:
    """Return an address and those that it wraps."""
    meant: list[Address] = [address]
    if isinstance(address, ipaddress.IPv4Address):
        return meant
    if address.ipv4_mapped is not None:
        meant.append(address.ipv4_mapped)
    if address.sixtofour is not None:
        meant.append(address.sixtofour)
    if address.teredo is not None:
        meant.extend(address.teredo)
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        meant.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return meant
