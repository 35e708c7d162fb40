# mypy: ignore-errors
"""Ways out over sockets, and around them (side: sandbox)."""

import os
import socket
import tempfile

from attempting import raw, window_fd

_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
FAMILIES = 64
"""More than AF_MAX of linux/socket.h, which is 46."""


def every_family() -> None:
    """Any socket of any family and kind."""
    for family in range(FAMILIES):
        for kind in _KINDS:
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            return
    raise OSError("none")


def open_socket(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def udp_packet() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"data", one.getsockname())


def path_socket() -> None:
    with socket.socket(socket.AF_UNIX) as one:
        path = f"{tempfile.mkdtemp()}/socket"
        one.bind(path)
        os.unlink(path)


def abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("\0cloister-attack")


ATTEMPTS = {
    "socket_every_family": every_family,
    "socket_tcp": lambda: open_socket(socket.AF_INET, socket.SOCK_STREAM),
    "socket_tcp6": lambda: open_socket(socket.AF_INET6, socket.SOCK_STREAM),
    "socket_udp": udp_packet,
    "socket_unix_path": path_socket,
    "socket_unix_abstract": abstract_socket,
    "socket_pair": lambda: [one.close() for one in socket.socketpair()],
    "socket_netlink": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "socket_vsock": lambda: open_socket(40, socket.SOCK_STREAM),
    "socket_kernel_crypto": lambda: open_socket(38, socket.SOCK_SEQPACKET),
    "send_on_pipe": lambda: raw(44, window_fd("completion_fd"), b"x", 1, 0, 0, 0),
    "receive_descriptor": lambda: raw(47, window_fd("control_fd"), 0, 0),
    "accept_on_pipe": lambda: raw(288, window_fd("control_fd"), 0, 0, 0),
    "io_uring": lambda: raw(425, 4, bytes(200)),
}
