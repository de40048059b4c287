"""Which network addresses belong to the whole world: the only ones that a stranger's URL may lead us to.

Python's `is_global` alone lets pass what reaches inside through an IPv6 address that carries an IPv4 one, the old
site-local addresses, and multicast; so IPv6 is an allow-list here (docs/security.md S18).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

# Protocol assignments and the anycast of 6to4 relays (RFC 6890, RFC 7526): `is_global` passes parts of them.
_NOT_PUBLIC_V4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
# What IANA gives out to hosts (RFC 4291) ...
_UNICAST_V6 = IPv6Network("2000::/3")
# ... without Teredo, benchmarks and ORCHID; documentation, twice; and 6to4, which carries an IPv4 address.
_NOT_PUBLIC_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16")))
# An IPv4 address behind a translator (RFC 6052), which is all that an IPv6-only network sees of the IPv4 world.
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether the address is a host of the open internet, and no way into this machine or its network."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        return is_public(inner) if inner else _is_public_v6(address)
    return address.is_global and not address.is_multicast and not any(address in net for net in _NOT_PUBLIC_V4)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that the kernel or a translator would connect to."""
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.ipv4_mapped


def _is_public_v6(address: IPv6Address) -> bool:
    return address in _UNICAST_V6 and address.is_global and not any(address in net for net in _NOT_PUBLIC_V6)
