"""A private PostgreSQL from the distribution's packages: a cluster of its own, a free port on the loopback, no socket.

PostgreSQL refuses to run as root: there it runs as the user whom its package made, or as nobody.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.embedded.processes import tie_to

_LIBRARIES: Final = Path("/usr/lib/postgresql")
_READY_SECONDS: Final = 30.0
_FAST: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")


def what_is_missing() -> str | None:
    """Why there is no PostgreSQL here."""
    if _programs() is None:
        return "postgresql is not installed (Debian and Ubuntu: the package postgresql)"
    try:
        import psycopg  # noqa: F401 - whether it is there
    except ImportError:
        return "psycopg is not installed (requirements/dev.txt)"
    return None


def _programs() -> Path | None:
    found = [path.parent for path in _LIBRARIES.glob("*/bin/postgres")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


@dataclass(frozen=True)
class PostgreSql:
    """One that runs. Databases are made and dropped by tests."""

    port: int
    password: str

    def url(self, database: str) -> str:
        """As settings of a service name it."""
        return f"postgresql+psycopg://cloister:{self.password}@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of a fresh database, which is gone at the end with all connections to it."""
        name = f"test_{secrets.token_hex(8)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        import psycopg

        plain: Any = self.url("postgres").replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def running() -> Iterator[PostgreSql]:
    """From its birth to its end. Raises `RuntimeError` with its log where it does not come up."""
    programs = _programs()
    if programs is None:
        raise RuntimeError("postgresql is not installed")
    place, user = Path(tempfile.mkdtemp(prefix="cloister-postgresql-")), _user()
    server = PostgreSql(_free_port(), secrets.token_hex(16))
    try:
        (place / "password").write_text(server.password)
        for path in (place, place / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        made = ("-D", str(place / "data"), "-U", "cloister", f"--pwfile={place / 'password'}", "-A", "scram-sha-256")
        command = (str(programs / "initdb"), *made, "-E", "UTF8", "--locale=C", "--no-sync")
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL, timeout=60, **as_user)
        with (place / "log").open("wb") as log:
            options = (f"port={server.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *_FAST)
            settings = [word for one in options for word in ("-c", one)]
            process = subprocess.Popen(
                (str(programs / "postgres"), "-D", str(place / "data"), *settings),
                cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=tie_to(os.getpid(), signal.SIGINT), **as_user,  # noqa: PLW1509 - tests fork in one thread
            )  # fmt: skip
        try:
            _await_ready(server, process, place / "log")
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown (postgres(1))
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _await_ready(server: PostgreSql, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(server.url("postgres").replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    sys.stderr.write(log.read_text(errors="replace")[-2000:])
    raise RuntimeError("PostgreSQL does not come up")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
