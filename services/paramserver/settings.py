"""Settings of the parameter server's host process (side: host). What bears on trust is measured, and not here."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.crypto.key_file import Identity
from common.errors import FormatError
from common.untrusted.broker_client import BrokerClient


class ParamserverSettings(BaseModel):
    """A JSON file. Credentials stand in the addresses, nowhere else."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    listen_port: int
    database_url: str
    amqp_url: str
    object_directory: Path
    attestation_url: str
    launcher: Path
    operator_identity: Path | None = None
    worker_name: str = "paramserver-1"
    capacity: Annotated[int, Field(ge=1, le=256)] = 8

    def broker(self) -> BrokerClient:
        """The way to the attestation service, signed if this host has an identity."""
        key = None if self.operator_identity is None else Identity.read(self.operator_identity).signing_key
        return BrokerClient(self.attestation_url, key)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `FormatError` naming the fields that are wrong, never their values."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as cause:
            fields = [error["loc"] for error in cause.errors()] if isinstance(cause, ValidationError) else "the file"
            raise FormatError("format.message", expected="settings of a parameter server", seen=fields) from None
