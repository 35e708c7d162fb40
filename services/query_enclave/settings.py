"""Settings of the query service's two host processes (side: host). What bears on trust is measured, and not here."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.untrusted.health import LOOPBACK
from common.untrusted.settings import HostSettings, WorkerSettings
from services.query_enclave.slots import Slots


class _Slotted(HostSettings):
    """`slot_directory`: where front and worker of one machine keep large bodies, best in memory (tmpfs); without one
    they travel through Redis, as they must between machines.
    """

    slot_directory: Path | None = None

    def slots(self) -> Slots | None:
        """The slots of that directory."""
        return None if self.slot_directory is None else Slots(self.slot_directory)


class FrontSettings(_Slotted):
    """The HTTP front."""

    listen_host: str = LOOPBACK
    listen_port: int
    database_url: str
    redis_url: str


class QueryWorkerSettings(_Slotted, WorkerSettings):
    """The worker. `capacity` counts models that it serves at once, `ahead` those of them that nobody asks for yet.

    `spare_enclave`: whether it keeps one more enclave launched, which serves nothing yet.
    """

    redis_url: str
    worker_name: str = "query-1"
    ahead: Annotated[int, Field(ge=0)] = 2
    spare_enclave: bool = True
