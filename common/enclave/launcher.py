"""Measures, starts and quotes one simulated enclave (side: host; it plays the CPU).

A process between relay and enclave: `python -m common.enclave.launcher --settings PATH --role ROLE`. In this order:

  (1) watch the relay: when it ends, so does the launcher, and with it the enclave;
  (2) copy the role's code and the trust settings to a snapshot, and measure it there;
  (3) start it from there with an empty environment, the relay's pipes as its door, and one private socket;
  (4) answer on that socket: evidence and sealing keys for this measurement, nothing else;
  (5) end with the enclave's exit status (128 + signal when it was killed).

The launcher never reads the door: it gives its own stdin and stdout away and closes them.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from common.enclave.bytecode import bytecode_store
from common.enclave.environment import Environment
from common.enclave.gramine_launch import DirectEnclave, GramineSettings, spawn_sgx
from common.enclave.measurement import BOOT_FILE, INTERPRETER_FLAGS, measured_content, mr_enclave_of
from common.enclave.private_socket import GRANTED, MALFORMED, MAX_LABEL_BYTES, MAX_PACKET_BYTES, Ask
from common.enclave.roles import RoleSpec, role_spec
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.snapshot import read_snapshot, take_snapshot
from common.enclave.trust_settings import TrustSettings
from common.errors import Refusal, UnavailableError
from common.event_log import configure_host_logging, log_event
from common.identifiers import MrEnclave, RoleName
from common.messages.base import Message
from common.messages.evidence import REPORT_DATA_BYTES, TrustLevel

_log = logging.getLogger("launcher")

_PRIVATE_SOCKET: Final = 3
EXIT_REFUSED: Final = 78
"""The enclave could not be started (EX_CONFIG of sysexits.h); the event log says why."""

EXIT_RELAY_GONE: Final = 79
"""The relay ended first."""

_SIGNALLED: Final = 128

DOOR_PIPE_BYTES: Final = 1 << 20
"""Of each direction of a door: a tick's frames and a chunk of data pass without a wait in between. The kernel's own 64
KiB make writer and reader take turns for each sixteenth. Any user may have so much (pipe(7), pipe-max-size).
"""

_HostPath = Annotated[str, Field(min_length=1, max_length=4096)]


class LauncherSettings(Message):
    """Where this host keeps what. None of it bears on trust: all that does is in the trust settings, measured."""

    type: Literal["launcher-settings"] = "launcher-settings"
    version: Literal[1] = 1
    platform_directory: _HostPath
    snapshot_directory: _HostPath
    trust_settings_file: _HostPath
    code_root: _HostPath
    roles: tuple[RoleSpec, ...] = ()
    gramine: GramineSettings | None = None
    """Enclaves run under Gramine; None: as processes, on the simulated platform."""


def launch_enclave(role: str, settings: Path) -> "subprocess.Popen[bytes]":
    """For relays: start launcher and enclave; `stdin` and `stdout` of the result are the door.

    The launcher watches this process, not the calling thread, so any thread may call. Its events go to our stderr.
    Ending it (`terminate`, `kill`) ends the enclave.
    """
    command = [
        sys.executable,
        "-m",
        "common.enclave.launcher",
        "--settings",
        str(settings.resolve()),
        "--role",
        role,
        "--relay",
        str(os.getpid()),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


class Launch:
    """One enclave: its measurement, and what its platform answers."""

    def __init__(self, spec: RoleSpec, settings: LauncherSettings) -> None:
        snapshots = Path(settings.snapshot_directory)
        self._environment = Environment.current()
        environment_digest = self._environment.digest(snapshots / "environment.cache")
        trust = TrustSettings.decode(_read(Path(settings.trust_settings_file)))
        content = measured_content(spec, Path(settings.code_root), trust)
        self._snapshot = take_snapshot(content, snapshots).resolve()
        self.mr_enclave: Final[MrEnclave] = mr_enclave_of(read_snapshot(self._snapshot), spec, environment_digest)
        self._bytecode = bytecode_store(
            spec.entry, self._snapshot, self._environment, environment_digest, snapshots.resolve() / "bytecode"
        )
        self._spec = spec
        self._platform = SimulatedPlatform.open_or_create(Path(settings.platform_directory))

    def spawn(self) -> tuple[int, socket.socket]:
        """Start it on our stdin and stdout, which are ours no longer. Returns its process id and our socket's end."""
        for pipe in (0, 1):
            with contextlib.suppress(OSError):  # a user's pipes may be narrow: then frames pass in more pieces
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, DOOR_PIPE_BYTES)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(self._environment.executable)
        argv = [
            program,
            *INTERPRETER_FLAGS,
            "-X",
            f"pycache_prefix={self._bytecode}",
            str(self._snapshot / BOOT_FILE),
            self._spec.entry,
            *map(str, self._environment.site_packages),
        ]
        pid = os.posix_spawn(
            program,
            argv,
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), _PRIVATE_SOCKET),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        theirs.close()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        return pid, ours

    def answer(self, request: bytes) -> bytes:
        """One reply on the private socket."""
        kind, body = request[0], request[1:]
        if kind == Ask.MEASUREMENT and not body:
            return GRANTED + self.mr_enclave.raw()
        if kind == Ask.EVIDENCE and len(body) == REPORT_DATA_BYTES:
            return GRANTED + self._platform.evidence(self.mr_enclave, body).encode()
        if kind == Ask.SEALING_KEY and 0 < len(body) <= MAX_LABEL_BYTES:
            return GRANTED + self._platform.sealing_key(self.mr_enclave, body)
        return MALFORMED

    def require_built_from_this(self, code: Path) -> None:
        """Raises `UnavailableError` where a tree's code is not this launch's: what runs there was built before."""
        if read_snapshot(code) != read_snapshot(self._snapshot):
            raise UnavailableError("unavailable.launcher", expected="enclaves built from this code", seen=code)


def run_under_gramine(role: RoleName, settings: LauncherSettings, gramine: GramineSettings) -> int:
    """Start an enclave there and wait for its end; its exit status. Raises `Refusal` when it can't be started.

    What `gramine-sgx` runs is measured by the processor. Without SGX it is measured and quoted here, as a process is.
    """
    if gramine.tool == "gramine-sgx":
        return await_end(spawn_sgx(gramine, role))
    launch = Launch(role_spec(role, settings.roles), settings)
    launch.require_built_from_this(Path(gramine.directory, role, "root", "code"))
    enclave = DirectEnclave(gramine, role, launch.answer)
    try:
        return await_end(enclave.pid)
    finally:
        enclave.close()


def await_end(pid: int) -> int:
    """The exit status of an enclave, once it has ended."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else _SIGNALLED - status


def serve(launch: Launch, pid: int, private: socket.socket) -> int:
    """Answer until the enclave ends; its exit status."""
    ended = os.pidfd_open(pid)
    waiting = select.poll()
    waiting.register(ended, select.POLLIN)
    waiting.register(private, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in waiting.poll()}
        if ended in ready:
            return await_end(pid)
        try:
            request = private.recv(MAX_PACKET_BYTES)
            if request:
                private.sendall(launch.answer(request))
            else:
                waiting.unregister(private)
        except OSError:  # the enclave is ending
            waiting.unregister(private)


def watch_relay(relay: int) -> None:
    """End this process as soon as the relay has ended; the enclave's parent-death signal does the rest."""
    try:
        descriptor = os.pidfd_open(relay)
    except ProcessLookupError:
        os._exit(EXIT_RELAY_GONE)
    if os.getppid() != relay:
        os._exit(EXIT_RELAY_GONE)

    def wait() -> None:
        select.select([descriptor], [], [])
        os._exit(EXIT_RELAY_GONE)

    threading.Thread(target=wait, name="relay-watch", daemon=True).start()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UnavailableError("unavailable.launcher", expected=f"readable {path}", seen=cause) from cause


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m common.enclave.launcher")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--role", required=True)
    parser.add_argument("--relay", type=int, default=os.getppid(), help="process id of the relay")
    arguments = parser.parse_args()
    watch_relay(arguments.relay)
    configure_host_logging("launcher")
    began = time.monotonic()
    try:
        settings = LauncherSettings.decode(_read(arguments.settings))
        if settings.gramine is not None:
            sys.exit(run_under_gramine(RoleName(arguments.role), settings, settings.gramine))
        launch = Launch(role_spec(arguments.role, settings.roles), settings)
        pid, private = launch.spawn()
    except Refusal as refusal:
        log_event(
            _log, "enclave_refused", logging.ERROR, role=arguments.role, code=refusal.code, reason=refusal.in_full()
        )
        sys.exit(EXIT_REFUSED)
    log_event(
        _log,
        "enclave_started",
        role=arguments.role,
        mr_enclave=launch.mr_enclave,
        pid=pid,
        trust_level=TrustLevel.SIMULATION,
        seconds=round(time.monotonic() - began, 3),
    )
    status = serve(launch, pid, private)
    log_event(_log, "enclave_ended", role=arguments.role, exit_status=status)
    sys.exit(status)


if __name__ == "__main__":
    main()
