"""Network addresses."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether this is one's own machine, which nobody else can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
