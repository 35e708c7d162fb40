"""Promise: the broker survives an upgrade. Two builds as real enclave processes, the host's relay between them, a
witness that knows nothing of builds, and kill -9 of the heir while it takes over (every other point:
test_attack_handover_kills).
"""

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from client.witnessing import Witness
from common.broker_verification import VerifiedBroker
from common.crypto.key_file import Identity
from common.door import Handler
from common.enclave.development import make_development_release
from common.enclave.roles import ROLES
from common.errors import CloisterError
from common.messages.broker_door import StartBroker
from common.messages.release import Release
from services.attestation.handover_files import HandoverFiles
from services.attestation.handover_relay import HandoverPlan, Predecessor
from services.attestation.relay import BrokerRelay
from services.attestation.state_files import StateFiles
from tests.fakes.installation import Installation
from tests.security.test_broker_process import Service, describe, wait_until

BROKER = ROLES["broker"]


@dataclass(frozen=True)
class Builds:
    """Two builds of one installation: the checkout, and one with a changed byte in the broker's code."""

    older: Installation
    newer: Installation
    older_launcher: Path
    newer_launcher: Path
    older_release: Path
    newer_release: Path


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    place = tmp_path_factory.mktemp("state")
    older = Installation.make(place, BROKER)
    older_release = place / "older.json"
    shutil.copyfile(place / "release" / "release.json", older_release)
    root = older.copy_of_code(BROKER, place / "code")
    source = root / "common/policy_rules.py"
    source.write_bytes(source.read_bytes().replace(b"What the parties", b"what the parties", 1))
    signed = make_development_release(place, code_root=root, specs=[BROKER])
    newer_release = place / "newer.json"
    newer_release.write_bytes(signed.encode())
    newer = Installation(place, older.trust, Release.decode(signed.payload))
    assert newer.release.measurements != older.release.measurements
    return Builds(older, newer, older.settings(), older.settings(code_root=root), older_release, newer_release)


class Host:
    """One host: its disk, its witness, and the service of whichever build is installed."""

    def __init__(self, builds: Builds, directory: Path) -> None:
        self.builds, self.directory = builds, directory
        self.identity = Identity.generate("witness", unsafe_simulation=True)
        self.start = StartBroker(witnesses=(self.identity.signing_key.party,), witness_quorum=1)

    def older(self, store: Path) -> BrokerRelay:
        """The service of the older build."""
        return BrokerRelay(self.builds.older_launcher, self.start, StateFiles(store))

    def newer(self, store: Path) -> "KillingRelay":
        """That of the newer one, which knows where the older one lies."""
        builds = self.builds
        older = Predecessor(launcher=builds.older_launcher, release_file=builds.older_release)
        plan = HandoverPlan((older,), builds.newer_release, HandoverFiles(store))
        return KillingRelay(builds.newer_launcher, self.start, StateFiles(store), None, plan)

    @contextmanager
    def running(self, relay: BrokerRelay, *, newer: bool) -> Iterator[BrokerRelay]:
        """Its service, and the witness beside it, which knows nothing of builds."""
        left = threading.Event()
        thread = threading.Thread(target=self._witness, args=(relay, left, newer))
        relay.start()
        thread.start()
        try:
            yield relay
        finally:
            left.set()
            relay.stop()
            thread.join()

    def _witness(self, relay: BrokerRelay, left: threading.Event, newer: bool) -> None:
        service = Served(relay, self.builds, newer=newer)
        witness = Witness(self.identity, self.builds.older.trust, service, self.directory / "witness.json")
        while not left.wait(0.02):
            try:
                witness.round()
            except CloisterError:
                continue


class KillingRelay(BrokerRelay):
    """The heir is killed when it first reads the package."""

    kills = 0

    def _handlers(self) -> Mapping[str, Handler]:
        handlers = dict(super()._handlers())
        read = handlers["package.read"]

        def kill_first(body: bytes) -> bytes:
            if not self.kills:
                self.kills += 1
                (enclave,) = psutil.Process(self._launched[0].pid).children()
                os.kill(enclave.pid, signal.SIGKILL)
            return read(body)

        return handlers | {"package.read": kill_first}


class Served(Service):
    """As the attestation service serves it: the release is that of the broker which answers."""

    def __init__(self, relay: BrokerRelay, builds: Builds, *, newer: bool) -> None:
        super().__init__(relay, builds.newer)
        self._builds, self._newer = builds, newer

    def get(self, path: str) -> bytes:
        if path != "/v1/release":
            return super().get(path)
        own = self._builds.newer_release if self._newer else self._builds.older_release
        return (self._relay.older_release or own).read_bytes()


@pytest.fixture
def host(builds: Builds, tmp_path: Path) -> Host:
    return Host(builds, tmp_path)


def thawed(relay: BrokerRelay, installation: Installation) -> VerifiedBroker:
    """The broker of that build, once its witness has confirmed it."""
    found: list[VerifiedBroker] = []

    def ask() -> bool:
        try:
            found[:] = [describe(relay, installation)]
        except CloisterError:
            return False
        return not found[0].description.frozen

    wait_until(ask)
    return found[0]


def test_a_new_build_takes_over_as_the_same_broker_and_the_old_state_is_frozen(host: Host) -> None:
    builds, store, kept = host.builds, host.directory / "broker", host.directory / "kept"
    with host.running(host.older(store), newer=False) as relay:
        before = thawed(relay, builds.older)
    shutil.copytree(store, kept)
    relay = host.newer(store)
    with host.running(relay, newer=True):
        after = thawed(relay, builds.newer)
        assert (relay.kills, relay.older_release, relay.waits) == (1, None, None)
    assert after.genesis == before.genesis
    assert after.wrapping_public != before.wrapping_public
    assert after.head.size > before.head.size
    assert [path.name for path in store.iterdir() if path.name.startswith(("heir", ".package"))] == []
    with host.running(host.older(kept), newer=False) as old:
        wait_until(lambda: old.ready)
        for _ in range(20):
            assert describe(old, builds.older).description.frozen
            threading.Event().wait(0.02)
