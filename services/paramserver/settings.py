"""Settings of the parameter server's host process (side: host). What bears on trust is measured, and not here."""

from common.untrusted.settings import WorkerSettings


class ParamserverSettings(WorkerSettings):
    """A JSON file. `capacity` counts jobs."""

    worker_name: str = "paramserver-1"
