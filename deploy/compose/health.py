"""A container's health: whether `/readyz` on its loopback says 200, or another path (side: host).

`python -I -S -B health.py PORT [PATH]`: exit status 0 or 1. A script without our imports, because it runs every few
seconds.
"""

import socket
import sys

SECONDS = 25.0


def main() -> int:
    """Ask once."""
    path = sys.argv[2] if len(sys.argv) > 2 else "/readyz"
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), SECONDS) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(f"GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n".encode())
        head = connection.recv(64).split(b" ")
    return 0 if head[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
