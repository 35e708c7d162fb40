"""Launches enclaves as containers for whoever may open its socket (side: host).

`python -m services.enclave_launcher.app --settings PATH [--image IMAGE] [--installation VOLUME]`: `--image` and
`--installation` stand in for those of the settings file: Compose knows them, who prepared it did not.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from common.event_log import configure_host_logging
from common.untrusted.health import HealthServer, Readiness
from common.untrusted.launching.containers import ContainerLauncher
from common.untrusted.launching.settings import ContainerLauncherSettings
from services.enclave_launcher.launching import LaunchDesk
from services.enclave_launcher.settings import EnclaveLauncherSettings


def listen(path: Path) -> socket.socket:
    """A socket that its user alone may open, in place of one that an earlier process left."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen()
    return listening


def serve(listening: socket.socket, desk: LaunchDesk) -> None:
    """Callers, until the process ends."""
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=desk.attend, args=(connection,), name="caller", daemon=True).start()


def placed(
    settings: ContainerLauncherSettings, image: str | None, installation: str | None
) -> ContainerLauncherSettings:
    """The settings with this image, and with this volume where they mount one named `installation`."""
    mounts = tuple(
        mount.model_copy(update={"source": installation or mount.source}) if mount.source == "installation" else mount
        for mount in settings.mounts
    )
    return settings.model_copy(update={"image": image or settings.image, "mounts": mounts})


def main() -> None:
    """Serve until SIGTERM. Enclaves that run then go on with their callers."""
    parser = argparse.ArgumentParser(prog="python -m services.enclave_launcher.app")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--image")
    parser.add_argument("--installation")
    arguments = parser.parse_args()
    configure_host_logging("launcher")
    settings = EnclaveLauncherSettings.read(arguments.settings)
    launcher = ContainerLauncher(placed(settings.containers, arguments.image, arguments.installation))
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    health = HealthServer(settings.listen_port, Readiness({"engine": launcher.is_ready}))
    try:
        serve(listen(settings.socket), LaunchDesk(launcher, settings.most))
    finally:
        health.stop()


if __name__ == "__main__":
    main()
