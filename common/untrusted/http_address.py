"""From where an HTTP request comes, for counting what nobody's identity answers for (side: host)."""

import ipaddress

from fastapi import Request


def sender_address(request: Request) -> str:
    """Whose allowance it is: the connection's address, of IPv6 the first 64 bits, which one host has for itself."""
    host = "" if request.client is None else request.client.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
