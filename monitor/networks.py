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
    "192.0.0.0/24",  # Oracle's, and what the IETF keeps for its protocols
    "224.0.0.0/4",
    "ff00::/8",
    "240.0.0.0/4",  # reserved, and broadcast
)
_LAST_BITS = tuple(  # where the last 32 bits are an IPv4 address: compatible, translated (SIIT), NAT64
    map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def parse(values: Iterable[str]) -> tuple[Network, ...]:
    """Return networks from their texts; raise ValueError for what is none."""
    return tuple(ipaddress.ip_network(value) for value in values)


def forbidden(address: str, networks: Iterable[Network]) -> Network | None:
    """Return the network that forbids an address, None where none does or the text is no address.

    An IPv4 address within an IPv6 one (mapped, compatible, translated, NAT64 by its well-known prefixes, ISATAP, 6to4,
    Teredo) is looked at as well.
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
    bits = int(address)
    if any(address in network for network in _LAST_BITS) or bits >> 32 & 0xFFFFFFFF in _ISATAP:
        meant.append(ipaddress.IPv4Address(bits & 0xFFFFFFFF))
    if address in _NAT64_LOCAL:  # RFC 6052: behind a prefix of 48 bits it stands around the byte that is always zero
        meant.append(ipaddress.IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF))
    return meant
