"""Settings of the trainer's host processes (side: host). None of them bears on trust: that is in what is measured."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.untrusted.settings import WorkerSettings


class TrainerSettings(WorkerSettings):
    """A JSON file, read by worker and relays. `capacity` counts trainer enclaves.

    `artefact_directory` keeps what enclaves compiled, sealed; losing it costs time. None: nothing is kept.
    """

    worker_name: str = "trainer-1"
    capacity: Annotated[int, Field(ge=1, le=256)] = 2
    artefact_directory: Path | None = None
