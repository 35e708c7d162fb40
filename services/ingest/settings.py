"""Settings of the ingest service, one JSON file of mode 0600 (side: host). None of them bears on trust."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from common.untrusted.settings import HostSettings

DEFAULT_QUOTA_BYTES: Final = 8 << 30


class IngestSettings(HostSettings):
    """A JSON file; credentials stand in the addresses, nowhere else.

    `open_enrolment`: whoever signs with a key of his own may enrol it, and gets `default_quota_bytes`.
    `operator_identity` is a key file; with it, requests to the attestation service are signed.
    """

    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)]
    database_url: str
    object_directory: Path
    amqp_url: str
    attestation_url: str
    operator_identity: Path | None = None
    open_enrolment: bool = False
    default_quota_bytes: Annotated[int, Field(ge=0)] = DEFAULT_QUOTA_BYTES
