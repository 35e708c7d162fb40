"""Starts an enclave under Gramine (side: host).

    gramine-sgx      the signed enclave that `cloister enclaves sign` left; its quotes are the processor's
    gramine-direct   the same tree without SGX, for tests: no hardware protects it, so it quotes as `simulation`, and
                     the launcher plays the CPU over a loopback connection, as over the private socket elsewhere

Inherited descriptors and unix sockets of the host do not work inside, stdin and stdout do: the door is as everywhere.
What the enclave needs to know of the connection stands in a copy of its manifest, made for this launch; under
`gramine-sgx` a manifest can't be changed, and nothing stands there.
"""

import hmac
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from common.enclave.private_socket import PLATFORM_VARIABLE, TOKEN_BYTES, StreamPackets
from common.errors import UnavailableError
from common.identifiers import RoleName
from common.messages.base import Message

GramineTool = Literal["gramine-sgx", "gramine-direct"]

_CONNECT_SECONDS: Final = 60.0


class GramineSettings(Message):
    """Which tool starts enclaves, and where they lie, a folder for each role (`cloister enclaves build`)."""

    type: Literal["gramine-settings"] = "gramine-settings"
    version: Literal[1] = 1
    tool: GramineTool
    directory: Annotated[str, Field(min_length=1, max_length=4096)]


def spawn_sgx(settings: GramineSettings, role: RoleName) -> int:
    """Start the signed enclave on our stdin and stdout; its process id. Raises `UnavailableError`."""
    place = Path(settings.directory, role)
    for name in (f"{role}.manifest.sgx", f"{role}.sig"):
        if not (place / name).is_file():
            raise UnavailableError("unavailable.launcher", expected=place / name)
    return _spawn(settings.tool, role, place)


class DirectEnclave:
    """An enclave without SGX, and the connection over which it asks its platform."""

    def __init__(self, settings: GramineSettings, role: RoleName, answer: Callable[[bytes], bytes]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._answer = answer
        self._folder = _launch_folder(Path(settings.directory, role), role, self._address())
        threading.Thread(target=self._serve, name="platform", daemon=True).start()
        self.pid = _spawn(settings.tool, role, self._folder)

    def close(self) -> None:
        """Forget what was made for this launch."""
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self) -> str:
        return f"{self._listener.getsockname()[1]}:{self._token.hex()}"

    def _serve(self) -> None:
        """Answer whoever shows the token, once; others of this machine are turned away."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(_CONNECT_SECONDS)
            packets = StreamPackets(connection)
            try:
                if not hmac.compare_digest(packets.recv(), self._token):
                    connection.close()
                    continue
                connection.settimeout(None)
                while True:
                    packets.sendall(self._answer(packets.recv()))
            except OSError:
                connection.close()


def _launch_folder(place: Path, role: RoleName, address: str) -> Path:
    """A folder with this launch's manifest, and the tree by its name there."""
    try:
        text = (place / f"{role}.manifest").read_text()
    except OSError as cause:
        raise UnavailableError("unavailable.launcher", expected=place / f"{role}.manifest") from cause
    folder = Path(tempfile.mkdtemp(prefix="cloister-direct-"))
    variable = f"{PLATFORM_VARIABLE} = {json.dumps(address)}"
    (folder / f"{role}.manifest").write_text(text.replace("[loader.env]\n", f"[loader.env]\n{variable}\n", 1))
    (folder / "root").symlink_to(place.resolve() / "root")
    return folder


def _spawn(tool: GramineTool, role: RoleName, folder: Path) -> int:
    program = shutil.which(tool)
    if program is None:
        raise UnavailableError("unavailable.gramine", expected=f"{tool} on PATH")
    os.chdir(folder)
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    pid = os.posix_spawn(program, [program, role], environment)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return pid
