"""Which addresses a download may reach: what is public, what never is, and what the operator allows.

The tables are our own. ``ipaddress.is_private`` and ``is_global`` change between Python releases and miss addresses
that matter here (Azure's 168.63.129.16, ISATAP, 3fff::/20), so only parsing and membership are taken from there.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from stillmotion.errors import ConfigurationError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network: connects to the machine itself on Linux
            "10.0.0.0/8",  # RFC 1918
            "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata, Tailscale
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure WireServer: a public number that answers inside Azure only
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",  # RFC 1918
            "192.0.0.0/24",  # IETF assignments; Oracle's metadata
            "192.0.2.0/24",  # TEST-NET-1
            "192.88.99.0/24",  # 6to4 relay anycast, deprecated
            "192.168.0.0/16",  # RFC 1918
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # TEST-NET-2
            "203.0.113.0/24",  # TEST-NET-3
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only IPv6 space that is in public use; loopback, ULA, fe80::, fec0::, multicast and ::/96 all lie outside it."""

NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF assignments: Teredo, benchmarking, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: the IPv4 address inside is where the packet goes
            "3fff::/20",  # documentation
        ),
    )
)

METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.169.0/24",  # 169.254.169.254 of AWS, GCP, Azure and most others; .253 DNS, .123 time
            "169.254.170.0/24",  # AWS ECS task and EKS pod credentials
            "169.254.0.23/32",  # Tencent
            "169.254.42.42/32",  # Scaleway
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure WireServer
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/64",  # AWS
            "fd20:ce::254/128",  # GCP
            "fd00:42::42/128",  # Scaleway
        ),
    )
)
"""Hand out credentials to whoever asks from inside; refused even where an allow-list covers them."""

NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_LAST_32_BITS = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*")
"""A lower-case ASCII host name without a trailing dot."""
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes the C library read the whole host as an address."""


def is_host_name(text: str) -> bool:
    """True for names; False for ``127.1``, ``2130706433`` and ``0x7f.1``, which the C library reads as addresses."""
    return _HOST_NAME.fullmatch(text) is not None and not NUMERIC_LABEL.fullmatch(text.rpartition(".")[2])


def is_public(address: IPAddress) -> bool:
    """True if the address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    if address in NAT64:
        # On an IPv6-only network the resolver answers with these for every IPv4 host, so they are judged by what
        # they lead to rather than refused.
        return is_public(_low_v4(address))
    if address not in GLOBAL_UNICAST or any(address in network for network in NOT_PUBLIC_V6):
        return False
    return not _is_isatap(address)


def is_metadata(address: IPAddress) -> bool:
    """True if the address, or an IPv4 address that it embeds, is a cloud's metadata service."""
    candidates: list[IPAddress] = [address]
    if isinstance(address, IPv6Address):
        candidates += embedded_v4(address)
    return any(candidate in network for candidate in candidates for network in METADATA)


def embedded_v4(address: IPv6Address) -> list[IPv4Address]:
    """IPv4 addresses that a transition mechanism would read out of ``address``.

    Compatible and mapped (RFC 4291), translated (RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo
    (RFC 4380: server, and client with its bits inverted) and ISATAP (RFC 5214).
    """
    bits = int(address)
    found = []
    if any(address in network for network in _LAST_32_BITS) or _is_isatap(address):
        found.append(_low_v4(address))
    if address in _NAT64_LOCAL:
        # RFC 6052 splits the address around bits 64..71 in a /48 prefix; the /96 form is used under it as well.
        found += [_low_v4(address), IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    return found


def _low_v4(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _is_isatap(address: IPv6Address) -> bool:
    return int(address) >> 32 & 0xFFFFFFFF in _ISATAP_MARKS


@dataclass(frozen=True, slots=True)
class _Entry:
    """A network, or a host name (``suffix``: what ``*.`` stands before), and the one port it is limited to."""

    network: IPNetwork | None = None
    host: str = ""
    suffix: str = ""
    port: int | None = None

    def covers(self, host: str, address: IPAddress, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return address in self.network
        return host == self.host if self.host else host.endswith(self.suffix)


@dataclass(frozen=True, slots=True)
class AllowList:
    """Destinations that the operator allows although they are not public, or not on a usual port."""

    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, items: Iterable[str]) -> "AllowList":
        """Reads networks (``10.0.0.0/8``), addresses and host names (``nas.lan``, ``*.corp.example``).

        Each may be limited to one port: ``nas.lan:9000``, ``[fd00::5]:9000``. Raises ConfigurationError on anything
        else, and on a metadata address.
        """
        return cls(tuple(_parse_entry(item) for item in items))

    def permits(self, host: str, address: IPAddress, port: int) -> bool:
        """Whether a connection to ``address``, which ``host`` resolved to, is allowed. Metadata never is."""
        return not is_metadata(address) and any(entry.covers(host, address, port) for entry in self.entries)


def _parse_entry(item: str) -> _Entry:
    text = item.strip().lower()
    network = _parse_network(text)
    port = None
    if network is None:
        text, port = _split_port(text, item)
        network = _parse_network(text.removeprefix("[").removesuffix("]") if text.startswith("[") else text)
    if network is not None:
        if is_metadata(network.network_address) and network.num_addresses <= 256:
            raise ConfigurationError(f"allow-list: {item!r} is a cloud metadata address, which is never fetched from")
        return _Entry(network=network, port=port)
    if text.startswith("*.") and is_host_name(text[2:]):
        return _Entry(suffix=text[1:], port=port)
    if is_host_name(text):
        return _Entry(host=text, port=port)
    raise ConfigurationError(
        f"allow-list: {item!r} is not a network, an address or a host name, with or without a port"
    )


def _parse_network(text: str) -> IPNetwork | None:
    """The network or single address in ``text``, or None. Needs host bits of zero; takes no zone (``%eth0``)."""
    if "%" in text:
        return None
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _split_port(text: str, item: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", text)
    if match is None or (match[2] and not 1 <= int(match[2]) <= 65535):
        raise ConfigurationError(f"allow-list: {item!r} does not end in a valid port")
    return match[1], int(match[2]) if match[2] else None
