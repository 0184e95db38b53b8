"""Which addresses of others' choosing we may call: public ones only, whatever their names resolve to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

# iana.org/assignments/iana-ipv4-special-registry, multicast and the reserved rest. Spelled out, as Python's own lists
# differ from release to release.
_NOT_PUBLIC_4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # looks public, and is Azure's own service for its machines
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
]
_GLOBAL_6 = IPv6Network("2000::/3")
"""All that is handed out to anybody (iana.org/assignments/ipv6-address-space); mapped IPv4 is elsewhere, for one."""
_NOT_PUBLIC_6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # Teredo and others that lead elsewhere
        "2001:db8::/32",
        "2002::/16",  # 6to4 leads to any IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]


def is_public(address: str) -> bool:
    """Tell whether an IP address is somebody's on the public internet; what is no address is not."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    match ip:
        case IPv4Address():
            return not any(ip in block for block in _NOT_PUBLIC_4)
        case IPv6Address():
            return ip in _GLOBAL_6 and not any(ip in block for block in _NOT_PUBLIC_6)


def is_loopback(address: str) -> bool:
    """Tell whether an IP address is this machine's own."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def find_fault(url: str, *, to_loopback: bool) -> str | None:
    """Say why a web address cannot be one of an endpoint; what its name resolves to is seen when it is called.

    `to_loopback` also allows this machine, and `http` with it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "This is no web address."
    if not url.isascii() or not url.isprintable() or " " in url:
        return "Write the address in ASCII: a name as xn--…, the rest with percent signs."
    if parts.scheme not in ({"https", "http"} if to_loopback else {"https"}):
        return "The address begins with https://."
    if not host or parts.username is not None or parts.fragment:
        return "The address has a host, no user name and no fragment."
    is_literal = host.replace(".", "").isdigit() or ":" in host
    if (is_literal and not is_public(host)) or host == "localhost" or host.endswith(".localhost"):
        return None if to_loopback and (is_loopback(host) or not is_literal) else "The address is not a public one."
    return None
