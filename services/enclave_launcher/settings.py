"""Settings of the enclave launcher, one JSON file of mode 0600 (side: host). None of them bears on trust."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.untrusted.launching.settings import ContainerLauncherSettings
from common.untrusted.settings import HostSettings


class EnclaveLauncherSettings(HostSettings):
    """`socket` is where callers connect: for this user alone. `most`: enclaves at once."""

    listen_port: int
    socket: Path
    most: Annotated[int, Field(ge=1, le=256)] = 8
    containers: ContainerLauncherSettings
