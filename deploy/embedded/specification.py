"""What the supervisor is told about a service (side: host)."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.embedded.probes import Probe, http_ready
from deploy.embedded.state import StateDirectory

CODE_ROOT: Final = Path(__file__).resolve().parents[2]
"""Where `common`, `services` and the other packages lie."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

RESTART_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 3.0)

STOP_SECONDS: Final = 20.0
"""What a service gets to hand back what it holds, before it is killed; in containers too (docker-compose.yml)."""


@dataclass(frozen=True)
class ServiceSpec:
    """One service. No secret stands in `command` or `environment`: both are public on this machine.

    `files` are written 0600 before each start. `probe` says what it still waits for (nothing: it is ready). It starts
    when everything in `depends_on` is ready, and is stopped before them; an `infrastructure` service is stopped after
    all others, which then end without errors in their logs. `restart_pauses`: seconds before each restart in a row, the
    last one before all that follow.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, bytes] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    directory: Path = CODE_ROOT
    stop_seconds: float = STOP_SECONDS
    infrastructure: bool = False
    restart_pauses: tuple[float, ...] = RESTART_PAUSES


Table = Callable[[StateDirectory], list[ServiceSpec]]
"""The services of a stack, as a function of its state: paths, ports and credentials come from there."""


def base_environment(home: Path) -> dict[str, str]:
    """The environment of a host process: nothing of the caller's, so that no secret of his travels along."""
    return {"PATH": _PATH, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}


def python_service(
    state: StateDirectory, name: str, module: str, settings: Mapping[str, object], depends_on: tuple[str, ...] = ()
) -> ServiceSpec:
    """A service of ours: `python -m module --settings FILE`, ready when its `/readyz` says so.

    `settings` is written as JSON with `listen_port` = `state.port(name)` added.
    """
    path = state.settings / f"{name}.json"
    port = state.port(name)
    body = json.dumps({**settings, "listen_port": port}, indent=1).encode()
    return ServiceSpec(
        name=name,
        command=(sys.executable, "-P", "-m", module, "--settings", str(path)),
        probe=http_ready(port),
        environment={**base_environment(state.root), "PYTHONPATH": str(CODE_ROOT), "PYTHONUNBUFFERED": "1"},
        files={path: body},
        depends_on=depends_on,
    )
