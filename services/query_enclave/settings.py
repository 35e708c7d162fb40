"""Settings of the query service's two host processes (side: host). What bears on trust is measured, and not here."""

from common.untrusted.settings import HostSettings, WorkerSettings


class FrontSettings(HostSettings):
    """The HTTP front."""

    listen_port: int
    database_url: str
    redis_url: str


class QueryWorkerSettings(WorkerSettings):
    """The worker. `capacity` counts models that it serves at once."""

    redis_url: str
    worker_name: str = "query-1"
