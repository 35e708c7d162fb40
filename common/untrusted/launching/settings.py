"""Settings files of launchers that start containers (side: host). None of them bears on trust."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import RoleName
from common.messages.base import Message

_Path = Annotated[str, Field(pattern=r"^/", max_length=4096)]


class Mount(Message):
    """A volume (by its name), or a file or folder of the engine's machine (by its path), as the container sees it."""

    type: Literal["mount"] = "mount"
    version: Literal[1] = 1
    source: Annotated[str, Field(min_length=1, max_length=4096)]
    target: _Path
    writable: bool = False


class ContainerLauncherSettings(Message):
    """What an enclave's container is.

    `engine` is the socket of a Docker engine. `launcher` is the process launcher's settings file, as it lies in the
    container: inside, everything goes on as on a bare machine. `seccomp_profile` is a file here; without one, Docker's
    own profile holds, under which no provider code can be confined: it is refused then (`confinement.…`). `runtime` is
    one that the engine knows (`runc`, `runsc`); None: its default. `devices` are those of a TEE, `groups` who owns
    them.
    """

    type: Literal["container-launcher-settings"] = "container-launcher-settings"
    version: Literal[1] = 1
    engine: _Path = "/var/run/docker.sock"
    image: Annotated[str, Field(min_length=1, max_length=256)]
    roles: tuple[RoleName, ...]
    launcher: _Path
    mounts: tuple[Mount, ...] = ()
    user: Annotated[str, Field(pattern=r"^[1-9]\d*:\d+$")]
    seccomp_profile: _Path | None = None
    runtime: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")] | None = None
    groups: tuple[Annotated[int, Field(ge=1)], ...] = ()
    devices: tuple[Annotated[str, Field(pattern=r"^/dev/[\w/.-]+$")], ...] = ()
    memory_bytes: Annotated[int, Field(ge=64 << 20)] = 3 << 30
    cpus: Annotated[float, Field(gt=0)] = 2.0
    pids: Annotated[int, Field(ge=16, le=4096)] = 512
    scratch_bytes: Annotated[int, Field(ge=1 << 20)] = 256 << 20


class LaunchSocketSettings(Message):
    """Where the process listens that launches for us (services/enclave_launcher)."""

    type: Literal["launch-socket-settings"] = "launch-socket-settings"
    version: Literal[1] = 1
    socket: _Path
