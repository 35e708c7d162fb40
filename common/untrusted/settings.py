"""Settings of host processes: one JSON file each, read once at the start (side: host).

None of them bears on trust: roots, release keys and whether a platform may be simulated are measured with the enclaves
(common/enclave/trust_settings), never read from the host. Credentials stand in the addresses and in `metrics_token`, so
the file is its user's alone.
"""

import socket
import stat
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from common.crypto.key_file import Identity
from common.errors import FormatError
from common.untrusted.broker_client import BrokerClient

_Token = Annotated[str, Field(min_length=16, max_length=128, pattern=r"^[\x21-\x7e]+$")]


class HostSettings(BaseModel):
    """Base class. Fields that a process does not know are another's, and are passed over.

    `metrics_token` lets others than this machine read `/metrics` (Authorization: Bearer).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    metrics_token: _Token | None = Field(default=None, repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `FormatError` for a file that others may read, or naming the wrong fields, never their values."""
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise FormatError("format.message", expected="a settings file of mode 0600")
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as cause:
            wrong = [error["loc"] for error in cause.errors()] if isinstance(cause, ValidationError) else "the file"
            raise FormatError("format.message", expected=cls.__name__, seen=wrong) from None


class WorkerSettings(HostSettings):
    """Of a process that launches enclaves for tasks. Of two workers of one name, the later one takes over;
    `{host}` in it becomes this machine's name, so that replicas of a container can share one file.

    With `operator_identity` (a key file) requests to the attestation service are signed. `frames`: how frames travel,
    through RabbitMQ or straight from relay to relay; the same for all workers of an installation. `listen_host` is
    where health and metrics are told.
    """

    listen_host: str = "127.0.0.1"
    listen_port: int
    database_url: str
    amqp_url: str
    object_directory: Path
    attestation_url: str
    launcher: Path
    operator_identity: Path | None = None
    worker_name: str
    frames: Literal["rabbitmq", "direct"] = "rabbitmq"
    capacity: Annotated[int, Field(ge=1, le=256)] = 8

    @field_validator("worker_name")
    @classmethod
    def _name_the_host(cls, name: str) -> str:
        return name.replace("{host}", socket.gethostname())

    def broker(self) -> BrokerClient:
        """The way to the attestation service."""
        key = None if self.operator_identity is None else Identity.read(self.operator_identity).signing_key
        return BrokerClient(self.attestation_url, key)
