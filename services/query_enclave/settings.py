"""Settings of the query service's two host processes (side: host). What bears on trust is measured, and not here."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import FormatError


class _Settings(BaseModel):
    """A JSON file. Credentials stand in the addresses, nowhere else."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    listen_port: int
    database_url: str
    redis_url: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `FormatError` naming the fields that are wrong, never their values."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as cause:
            fields = [error["loc"] for error in cause.errors()] if isinstance(cause, ValidationError) else "the file"
            raise FormatError("format.message", expected=f"{cls.__name__}", seen=fields) from None


class FrontSettings(_Settings):
    """The HTTP front."""


class QueryWorkerSettings(_Settings):
    """The worker. Of two workers of one name, the later one takes over what the first one served."""

    amqp_url: str
    object_directory: Path
    attestation_url: str
    launcher: Path
    worker_name: str = "query-1"
    capacity: Annotated[int, Field(ge=1, le=64)] = 8
