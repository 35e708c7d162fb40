"""Settings of the ingest service, one JSON file of mode 0600 (side: host). None of them bears on trust."""

import stat
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import FormatError

DEFAULT_QUOTA_BYTES: Final = 8 << 30


class IngestSettings(BaseModel):
    """A JSON file; credentials stand in the addresses, nowhere else.

    `open_enrolment`: whoever signs with a key of his own may enrol it, and gets `default_quota_bytes`.
    `operator_identity` is a key file; with it, requests to the attestation service are signed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)]
    database_url: str
    object_directory: Path
    amqp_url: str
    attestation_url: str
    operator_identity: Path | None = None
    open_enrolment: bool = False
    default_quota_bytes: Annotated[int, Field(ge=0)] = DEFAULT_QUOTA_BYTES

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `FormatError` for a file that others may read, or naming the fields that are wrong."""
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise FormatError("format.message", expected="a settings file of mode 0600")
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as cause:
            fields = [error["loc"] for error in cause.errors()] if isinstance(cause, ValidationError) else "the file"
            raise FormatError("format.message", expected="settings of the ingest service", seen=fields) from None
