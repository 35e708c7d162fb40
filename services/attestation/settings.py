"""Settings of the attestation service's host process (side: host). What bears on trust is measured, not set here."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import FormatError
from common.identifiers import PartyKey
from common.messages.broker_door import StartBroker


class AttestationSettings(BaseModel):
    """A JSON file. `witnesses` and `witness_quorum` enter the genesis of a new broker, which owners pin."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    state_directory: Path
    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)]
    launcher: Path
    release_file: Path
    witnesses: tuple[PartyKey, ...] = ()
    witness_quorum: int = 0

    @property
    def start(self) -> StartBroker:
        """What the enclave is started with. Raises `FormatError` for a quorum that cannot be met."""
        try:
            return StartBroker(witnesses=self.witnesses, witness_quorum=self.witness_quorum)
        except ValidationError:
            raise FormatError("format.message", expected="distinct witnesses and a quorum within them") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `FormatError` naming the fields that are wrong, never their values."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as cause:
            fields = [error["loc"] for error in cause.errors()] if isinstance(cause, ValidationError) else "the file"
            raise FormatError("format.message", expected="settings of the attestation service", seen=fields) from None
