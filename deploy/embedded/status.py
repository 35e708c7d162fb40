"""What the supervisor says about itself in `run/status.json` (side: host)."""

from typing import Literal

from pydantic import Field

from common.messages.base import Count, Message

State = Literal["waiting", "starting", "ready", "backing_off", "failed", "stopping", "stopped"]


class ServiceStatus(Message):
    """One service. `waiting_for` names services that it depends on, or what its probe misses; empty when ready."""

    type: Literal["service-status"] = "service-status"
    version: Literal[1] = 1
    name: str
    state: State
    pid: int | None
    waiting_for: tuple[str, ...]
    restarts: Count
    ready_since: float | None

    @property
    def ready(self) -> bool:
        """Whether its last probe found it ready."""
        return self.state == "ready"


class StackStatus(Message):
    """All services, in the order of their table. Times are Unix time in seconds."""

    type: Literal["stack-status"] = "stack-status"
    version: Literal[1] = 1
    state: Literal["down", "starting", "ready", "failed", "stopping"]
    guardian_pid: int | None = None
    supervisor_pid: int | None = None
    started_at: float | None = None
    services: tuple[ServiceStatus, ...] = ()
    ports: dict[str, int] = Field(default_factory=dict)

    @property
    def waiting(self) -> dict[str, tuple[str, ...]]:
        """What each service that is not ready waits for."""
        return {service.name: service.waiting_for for service in self.services if not service.ready}


def overall_state(services: tuple[ServiceStatus, ...]) -> Literal["starting", "ready", "failed"]:
    """`failed` once any service was given up; `ready` when all are."""
    if any(service.state == "failed" for service in services):
        return "failed"
    return "ready" if all(service.ready for service in services) else "starting"
