"""Settings of the query service's two host processes (side: host). What bears on trust is measured, and not here."""

from typing import Annotated

from pydantic import Field

from common.untrusted.settings import HostSettings, WorkerSettings


class FrontSettings(HostSettings):
    """The HTTP front."""

    listen_port: int
    database_url: str
    redis_url: str


class QueryWorkerSettings(WorkerSettings):
    """The worker. `capacity` counts models that it serves at once, `ahead` those of them that nobody asks for yet."""

    redis_url: str
    worker_name: str = "query-1"
    ahead: Annotated[int, Field(ge=0)] = 2
