"""RabbitMQ's address as pika and as Celery want it, over TLS where the address says so (side: host).

    amqp://USER:PASSWORD@HOST:PORT/VIRTUAL_HOST
    amqps://USER:PASSWORD@HOST:PORT/VIRTUAL_HOST?cafile=PATH

Over TLS the server's certificate is verified under that file's authorities (without one: the system's), and names HOST.
There is no way to switch that off. What travels is sealed anyway; TLS keeps credentials and routing from the network.
"""

import ssl
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pika

from common.errors import FormatError

_SCHEMES: Final = {"amqp": False, "amqps": True}


def pika_parameters(address: str) -> pika.URLParameters:
    """For a `BlockingConnection`. Raises `FormatError` (format.message) for another scheme or option."""
    plain, tls, cafile = _parse(address)
    parameters = pika.URLParameters(plain)
    if tls:
        parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=cafile), parameters.host)
    return parameters


def celery_settings(address: str) -> dict[str, Any]:
    """`broker_url` and `broker_use_ssl`. Raises likewise."""
    plain, tls, cafile = _parse(address)
    if not tls:
        return {"broker_url": plain}
    names = {"server_hostname": urlsplit(plain).hostname, "cert_reqs": ssl.CERT_REQUIRED}
    return {"broker_url": plain, "broker_use_ssl": names | ({} if cafile is None else {"ca_certs": cafile})}


def _parse(address: str) -> tuple[str, bool, str | None]:
    """The address under the scheme `amqp` and without options; whether over TLS; the file of authorities."""
    parts = urlsplit(address)
    options = parse_qs(parts.query)
    if parts.scheme not in _SCHEMES or options.keys() - {"cafile"} or (options and parts.scheme == "amqp"):
        raise FormatError("format.message", expected="amqp://…, or amqps://… with no option but cafile")
    plain = urlunsplit(("amqp", parts.netloc, parts.path, "", ""))
    return plain, _SCHEMES[parts.scheme], options.get("cafile", [None])[0]
