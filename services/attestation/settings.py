"""Settings of the attestation service's host process (side: host). What bears on trust is measured, not set here."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from common.errors import FormatError
from common.identifiers import PartyKey
from common.messages.broker_door import StartBroker
from common.untrusted.settings import HostSettings


class AttestationSettings(HostSettings):
    """A JSON file. `witnesses` and `witness_quorum` enter the genesis of a new broker, which owners pin.

    `measured_files` lists the files of the release's enclaves, where it is published.
    """

    state_directory: Path
    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)]
    launcher: Path
    release_file: Path
    measured_files: Path | None = None
    witnesses: tuple[PartyKey, ...] = ()
    witness_quorum: int = 0

    @property
    def start(self) -> StartBroker:
        """What the enclave is started with. Raises `FormatError` for a quorum that cannot be met."""
        try:
            return StartBroker(witnesses=self.witnesses, witness_quorum=self.witness_quorum)
        except ValidationError:
            raise FormatError("format.message", expected="distinct witnesses and a quorum within them") from None
