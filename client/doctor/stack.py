"""What the stack in the state directory has (side: owner: the operator's own machine)."""

import contextlib
import json
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError

from client.events import Examined
from common.errors import FormatError
from common.messages.collateral import StoredCollateral
from common.untrusted.collateral_cache import COLLATERAL_FOLDER
from common.untrusted.collateral_service import CollateralLimits
from common.untrusted.database import Database
from deploy.embedded.installation import require_same_build
from deploy.embedded.probes import Probe, amqp_login, redis_ping
from deploy.embedded.rabbitmq import amqp_url
from deploy.embedded.redis_server import redis_url
from deploy.embedded.stack import EmbeddedStack
from deploy.embedded.state import StateDirectory

_ANSWER_SECONDS: Final = 5.0
_SQLITE: Final = "sqlite:///"
_DOWN: Final = "the stack is down"
_SOON_SECONDS: Final = 3 * 86_400


def build(state: StateDirectory) -> Examined:
    """Raises `ConflictError` (conflict.build) where another build has sealed the key broker's state."""
    require_same_build(state)
    return Examined(part="build", state="ok", told="it opens the key broker's state, or there is none yet")


def services(state: StateDirectory) -> Examined:
    """Whether all are ready; else what they wait for, and why."""
    status = EmbeddedStack(state.root).status()
    if status.state == "down":
        return Examined(part="services", state="note", told=_DOWN, command="cloister up")
    reasons = {name: _reasons(status.ports.get(name)) for name in status.waiting}
    if not status.waiting:
        return Examined(part="services", state="ok", told=f"{len(status.services)} are ready")
    told = "; ".join(f"{name} waits for {', '.join(parts)}" for name, parts in status.waiting.items())
    codes = dict.fromkeys(code for one in reasons.values() for code in one)
    command = "; ".join(f"cloister explain {code}" for code in codes) or f"read {state.logs}"
    return Examined(part="services", state="mend", told=told, command=command)


def _reasons(port: int | None) -> list[str]:
    """Codes that a service tells at /readyz."""
    if port is None:
        return []
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=_ANSWER_SECONDS) as answer:
            told = json.loads(answer.read())
    except HTTPError as error:
        with contextlib.suppress(ValueError):
            return [str(code) for code in json.loads(error.read()).get("reasons", {}).values()]
        return []
    except (URLError, OSError, ValueError):
        return []
    return [str(code) for code in told.get("notes", {}).values()]


def broker(state: StateDirectory) -> Examined:
    """RabbitMQ."""
    return _asked("broker", "RabbitMQ", state, lambda: amqp_login(amqp_url(state)))


def redis(state: StateDirectory) -> Examined:
    """Redis."""
    return _asked("redis", "Redis", state, lambda: redis_ping(redis_url(state)))


def _asked(part: str, name: str, state: StateDirectory, probe_of: Callable[[], Probe]) -> Examined:
    if not state.is_locked():
        return Examined(part=part, state="note", told=f"{name} is not asked: {_DOWN}", command="cloister up")
    if missing := probe_of()():
        told, command = f"{name} does not give {', '.join(missing)}", "cloister down && cloister up"
        return Examined(part=part, state="mend", told=told, command=command)
    return Examined(part=part, state="ok", told=f"{name} answers")


def registry(state: StateDirectory) -> Examined:
    """SQLite's own check of its file, which changes nothing; of another database that it answers."""
    url = _database_url(state)
    if url is None:
        return Examined(part="registry", state="note", told="there is none yet", command="cloister up")
    if not url.startswith(_SQLITE):
        database = Database(url)
        database.is_alive()
        database.close()
        return Examined(part="registry", state="ok", told="the database answers")
    path = Path(url.removeprefix(_SQLITE))
    if not path.exists():
        return Examined(part="registry", state="mend", told=f"no {path.name}", command="cloister restore DIRECTORY")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_ANSWER_SECONDS)) as connection:
        said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    if said != ["ok"]:
        return Examined(part="registry", state="mend", told="the file is damaged", command="cloister restore DIRECTORY")
    return Examined(part="registry", state="ok", told=f"SQLite, {path.stat().st_size:,} bytes")


def _database_url(state: StateDirectory) -> str | None:
    """As ingest's settings have it."""
    try:
        return str(json.loads((state.settings / "ingest.json").read_bytes())["database_url"])
    except (OSError, ValueError, KeyError):
        return None


def collateral(state: StateDirectory, *, has_tee: bool) -> Examined:
    """How long what is stored is good yet. Simulated platforms bring their own."""
    stored = _stored(state.root / "attestation" / COLLATERAL_FOLDER)
    command = "cloister attestation collateral import FILE, or name a `pcs_url` (docs/attestation.md)"
    if not stored:
        if has_tee:
            return Examined(part="collateral", state="mend", told="none is stored", command=command)
        return Examined(part="collateral", state="ok", told="none is stored, and simulation needs none")
    limits = CollateralLimits()
    left = {str(one.name): limits.seconds_left(one, time.time()) for one in stored}
    name = min(left, key=lambda one: left[one])
    told = f"{len(left)} sets; {name} for {left[name] / 86_400:.1f} days more"
    if left[name] < _SOON_SECONDS:
        return Examined(part="collateral", state="mend" if left[name] < 0 else "note", told=told, command=command)
    return Examined(part="collateral", state="ok", told=told)


def _stored(directory: Path) -> list[StoredCollateral]:
    found = []
    for path in sorted(directory.glob("*.json")):
        with contextlib.suppress(OSError, FormatError):
            found.append(StoredCollateral.decode(path.read_bytes()))
    return found
