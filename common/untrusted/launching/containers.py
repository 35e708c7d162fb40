"""Each enclave in a container of its own, through a Docker engine (side: host).

In the container runs what runs on a bare machine: the launcher of common/enclave, below it the enclave, below that the
sandbox with provider code. Around them stands what `container_of` says: no network, no capability, no new privileges, a
read-only root, one small tmpfs, bounds of memory, processors and processes; only the door leads out. The engine keeps
no log of it, since that would be a copy of all frames.

Whoever may speak to an engine is root on its machine. No process that takes tasks from a queue should: see `sockets`.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any, Final, Self

import docker
from docker.errors import DockerException

from common.errors import NotFoundError, UnavailableError
from common.untrusted.launching.attached import AttachedDoor
from common.untrusted.launching.settings import ContainerLauncherSettings

_COMMAND: Final = ("python", "-P", "-m", "common.enclave.launcher")
_ANSWER_SECONDS: Final = 60
ROLE_LABEL: Final = "cloister.enclave"
"""Of containers that were launched here: `docker ps --filter label=cloister.enclave`."""


class LaunchedContainer:
    """One container that runs. `door` is a descriptor of the connection to its three streams: see `AttachedDoor`."""

    def __init__(self, engine: docker.APIClient, container: str, door: int) -> None:
        self._engine, self._container, self.door = engine, container, door
        self._status: int | None = None
        self._ended = threading.Event()
        self.pid: Final = int(_state(engine, container).get("Pid", 0))
        threading.Thread(target=self._watch, name="container-watch", daemon=True).start()

    def wait(self, seconds: float | None = None) -> int | None:
        """As `LaunchedEnclave.wait`; the container is gone then."""
        if not self._ended.wait(seconds):
            raise TimeoutError(f"the container runs after {seconds} s")
        return self._status

    def kill(self) -> None:
        """End everything in it."""
        with contextlib.suppress(DockerException, OSError):  # it is gone
            self._engine.kill(self._container)

    def _watch(self) -> None:
        with contextlib.suppress(DockerException, OSError):
            self._status = int(self._engine.wait(self._container, timeout=None, condition="removed")["StatusCode"])
        self._ended.set()
        self._engine.close()


class AttachedContainer:
    """`LaunchedEnclave`: a container with its door in our hands."""

    def __init__(self, launched: LaunchedContainer) -> None:
        door = AttachedDoor(launched.door)
        self.reader, self.writer, self.pid = door.reader, door.writer, launched.pid
        self.wait, self.kill = launched.wait, launched.kill


class ContainerLauncher:
    """`EnclaveLauncher` over an engine. A container ends when its door does: with this process, at the latest."""

    def __init__(self, settings: ContainerLauncherSettings) -> None:
        self._settings = settings

    @classmethod
    def of(cls, settings: Path) -> Self:
        """Of a settings file. Raises `FormatError`."""
        return cls(ContainerLauncherSettings.decode(settings.read_bytes()))

    def launch(self, role: str) -> AttachedContainer:
        """Start one and attach to it."""
        return AttachedContainer(self.start(role))

    def start(self, role: str) -> LaunchedContainer:
        """Start one. Raises `NotFoundError` (not_found.role), `UnavailableError` with what the engine said."""
        if role not in self._settings.roles:
            raise NotFoundError("not_found.role", expected=self._settings.roles, seen=role)
        try:
            engine = self._connect()
            container = engine.create_container_from_config(container_of(self._settings, role))["Id"]
            try:
                return LaunchedContainer(engine, container, _start(engine, container))
            except BaseException:
                engine.remove_container(container, force=True)
                raise
        except (DockerException, OSError) as cause:
            raise UnavailableError("unavailable.launcher", expected="a container of the engine", seen=cause) from cause

    def is_ready(self) -> bool:
        """Whether engine and image are there."""
        with contextlib.closing(self._connect()) as engine:
            return bool(engine.inspect_image(self._settings.image))

    def _connect(self) -> docker.APIClient:
        return docker.APIClient(f"unix://{self._settings.engine}", timeout=_ANSWER_SECONDS)


def container_of(settings: ContainerLauncherSettings, role: str) -> dict[str, Any]:
    """The engine's description of an enclave's container (docs.docker.com, Engine API v1.41, ContainerCreate).

    `MaskedPaths` and `ReadonlyPaths` are empty where a sandbox is to confine in it, and only there: bubblewrap mounts a
    /proc of its own, which the kernel refuses beside a masked one, and forbids further user namespaces through a file
    below /proc/sys; what lies there is root's, and nobody is root here. AppArmor's `docker-default` forbids mounts.
    """
    profile = settings.seccomp_profile
    confining = [] if profile is None else [f"seccomp={Path(profile).read_text()}", "apparmor=unconfined"]
    return {
        "Image": settings.image,
        "Entrypoint": list(_COMMAND),
        "Cmd": ["--settings", settings.launcher, "--role", role],
        "User": settings.user,
        "Labels": {ROLE_LABEL: role},
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "NetworkDisabled": True,
        "HostConfig": {
            "AutoRemove": True,
            "CapDrop": ["ALL"],
            "Devices": [
                {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"} for path in settings.devices
            ],
            "GroupAdd": [str(group) for group in settings.groups],
            "Init": True,  # the launcher's parent is process 1, which reaps what sandboxes leave
            "IpcMode": "none",
            "LogConfig": {"Type": "none"},
            "Memory": settings.memory_bytes,
            "MemorySwap": settings.memory_bytes,
            "Mounts": [
                {
                    "Type": "bind" if mount.source.startswith("/") else "volume",
                    "Source": mount.source,
                    "Target": mount.target,
                    "ReadOnly": not mount.writable,
                }
                for mount in settings.mounts
            ],
            "NanoCpus": int(settings.cpus * 1e9),
            "NetworkMode": "none",
            "PidsLimit": settings.pids,
            "ReadonlyRootfs": True,
            "RestartPolicy": {"Name": "no"},
            "SecurityOpt": ["no-new-privileges", *confining],
            "Tmpfs": {"/tmp": f"mode=1777,size={settings.scratch_bytes}"},  # noqa: S108 - the container's own
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            **({} if profile is None else {"MaskedPaths": [], "ReadonlyPaths": []}),
            **({} if settings.runtime is None else {"Runtime": settings.runtime}),
        },
    }


def _start(engine: docker.APIClient, container: str) -> int:
    """Attach and start, in this order: no byte is missed, or read ahead. A descriptor of our own of the connection."""
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    attached = engine.attach_socket(container, streams)
    door = os.dup(attached.fileno())
    attached._response.close()  # noqa: SLF001 - the client holds its own end by it for as long as it lives
    try:
        engine.start(container)
    except BaseException:
        os.close(door)
        raise
    return door


def _state(engine: docker.APIClient, container: str) -> dict[str, Any]:
    with contextlib.suppress(DockerException):  # it has ended, and was removed
        state: dict[str, Any] = engine.inspect_container(container)["State"]
        return state
    return {}
