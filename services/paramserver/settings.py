"""Settings of the parameter server's host process (side: host). What bears on trust is measured, and not here."""

from typing import Annotated

from pydantic import Field

from common.untrusted.settings import WorkerSettings


class ParamserverSettings(WorkerSettings):
    """A JSON file. `capacity` counts jobs. Where frames go straight: trainers' relays connect to `frames_port` (0: any
    that is free) of `frames_host`, by which `frames_advertised` is another name if they know it by one.
    """

    worker_name: str = "paramserver-1"
    frames_host: str = "127.0.0.1"
    frames_port: Annotated[int, Field(ge=0, le=65535)] = 0
    frames_advertised: str | None = None
