"""Builds of before that could still run: their brokers hand over to this build's (side: host).

A release that took another's place is kept (common/enclave/development), and so is the snapshot of its broker, which
names itself by its content. So the older build needs no checkout: it is launched from its own measured files.
"""

from collections.abc import Iterator
from pathlib import Path

from common.enclave.development import earlier_releases, launcher_settings
from common.enclave.environment import Environment
from common.enclave.measurement import mr_enclave_of
from common.enclave.roles import role_spec
from common.enclave.snapshot import read_snapshot
from common.identifiers import MrEnclave
from common.messages.evidence import TrustLevel
from common.messages.release import Release
from common.messages.signed import Signed
from deploy.embedded.state import StateDirectory, write_private

_BROKER = role_spec("broker")
_DIGEST_CHARS = 64


def broker_of(release: Signed) -> MrEnclave:
    """What the broker of a development release measures."""
    reference = Release.decode(release.payload).reference(_BROKER.role, TrustLevel.SIMULATION)
    return MrEnclave(reference.code)


def find_snapshot(state: StateDirectory, measurement: MrEnclave) -> Path | None:
    """The files of the broker that measures so, in this environment; None when they are gone or were touched."""
    snapshots = state.root / "snapshots"
    environment = Environment.current().digest(snapshots / "environment.cache")
    places = (place for place in sorted(snapshots.glob("[0-9a-f]*")) if len(place.name) == _DIGEST_CHARS)
    return next((one for one in places if mr_enclave_of(read_snapshot(one), _BROKER, environment) == measurement), None)


def can_be_run(state: StateDirectory, newest: MrEnclave) -> bool:
    """Whether the newest build's broker, or that of one before it (the newest may never have started), is there."""
    before = (broker_of(Signed.decode(path.read_bytes())) for path in earlier_releases(state.root))
    return any(find_snapshot(state, one) is not None for one in (newest, *before))


def predecessors(state: StateDirectory, measurement: MrEnclave) -> Iterator[dict[str, str]]:
    """Builds that may have sealed the state, newest first, as settings of the attestation service; not this one."""
    seen = {measurement}
    for path in earlier_releases(state.root):
        broker = broker_of(Signed.decode(path.read_bytes()))
        snapshot = None if broker in seen else find_snapshot(state, broker)
        if snapshot is not None:
            seen.add(broker)
            launcher = state.settings / f"launcher-{broker[:16]}.json"
            write_private(launcher, launcher_settings(state.root, code_root=snapshot).encode())
            yield {"launcher": str(launcher), "release_file": str(path)}
