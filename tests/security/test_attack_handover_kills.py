"""Promise: kill -9 of either broker, or of their host, at any point of a handover leaves exactly one that goes on.

Every call of an enclave to its host's disk is a point, before and after its effect; the disk is the real one.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from common.crypto.merkle import MerkleFrontier
from common.errors import AuthenticityError
from common.identifiers import DatasetId
from common.messages.decision_log import LogEntry
from common.transparency import log_leaf
from services.attestation.context import BrokerContext, WitnessRule
from services.attestation.handover_files import HandoverFiles
from services.attestation.key_broker import KeyBroker
from services.attestation.state_files import StateFiles
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, SealedData
from tests.fakes.handover_world import Heir


class KilledError(BaseException):
    """The process is gone; nothing catches it."""


class Disk:
    """One host's disk; at call number `kill_at` whoever writes is killed, before or after the effect."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.calls, self.kill_at, self.after = 0, -1, False
        self.boot()

    def boot(self) -> None:
        """What the host's process reads when it starts."""
        self.files, self.handover = StateFiles(self.directory), HandoverFiles(self.directory)

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        self.calls += 1
        killed = self.calls == self.kill_at
        if killed and not self.after:
            raise KilledError
        yield
        if killed:
            raise KilledError


class StateOnDisk:
    """`StateStore` as the door and the relay make it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._queue: list[tuple[bytes, bytes]] = []

    def load(self) -> Iterable[bytes]:
        number = 0
        while blob := self._disk.files.read(number):
            yield blob
            number += 1

    def append(self, entry: bytes, blob: bytes) -> None:
        self._queue.append((entry, blob))

    def settle(self) -> None:
        if self._queue:
            with self._disk.call():
                self._disk.files.append(*self._queue)
            self._queue.clear()

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:
        self.settle()
        with self._disk.call():
            self._disk.files.begin(first, entries)
        for blob in blobs:
            with self._disk.call():
                self._disk.files.add(blob)
        with self._disk.call():
            self._disk.files.commit()

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:
        self.settle()
        with self._disk.call():
            self._disk.files.recovery.keep(dataset_id, package)


class PackageOnDisk(StateOnDisk):
    """The same of a package."""

    def load(self) -> Iterable[bytes]:
        number = 0
        while blob := self._disk.handover.read_package(number.to_bytes(8, "big")):
            yield blob
            number += 1

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:  # noqa: ARG002
        with self._disk.call():
            self._disk.handover.begin_package()
        for blob in blobs:
            with self._disk.call():
                self._disk.handover.add_to_package(blob)


class Upgrade:
    """A host that changes to the heir's build, from whatever is on its disk."""

    def __init__(self, directory: Path) -> None:
        self.world = BrokerWorld(directory)
        self.heir = Heir.of(self.world)
        self.disk = Disk(directory / "broker")
        self.heir.package = PackageOnDisk(self.disk)  # type: ignore[assignment]
        self.broker = self._start(older=True)
        self._serve()
        self.data: SealedData = self.world.register_data(releases=(self.world.release.digest, self.heir.release.digest))

    def run(self) -> None:
        """One life of the service: the newer build, or the older one until it has handed over."""
        self.disk.boot()
        try:
            self.broker = self._start(older=False)
        except AuthenticityError:
            self.broker = self._start(older=True)
            self._serve()
            self._hand_over()
        self._serve()

    def _hand_over(self) -> None:
        release, handover = self.heir.release.digest, self.disk.handover
        self.heir.sealed_key = handover.read_key(release)
        request = self.heir.request()
        assert self.heir.sealed_key is not None
        with self.disk.call():
            handover.keep_key(release, self.heir.sealed_key)
        given = self.world.core.hand_over(request, self.world.time, self.heir.package)
        assert self.broker.handed_over is not None, "nobody takes over from a broker that goes on"
        self.broker = self.heir.take(given, StateOnDisk(self.disk))  # type: ignore[arg-type]
        with self.disk.call():
            handover.forget(release)

    def _start(self, *, older: bool) -> BrokerContext:
        measurement = MEASUREMENTS["broker"] if older else self.heir.runtime.measurement
        runtime = self.world.runtime("broker", measurement)
        return BrokerContext.start(runtime, StateOnDisk(self.disk), WitnessRule(), self.world.time)

    def _serve(self) -> None:
        self.world.context, self.world.core = self.broker, KeyBroker(self.broker, confirm_seconds=0.0)


def require_whole(upgrade: Upgrade) -> None:
    """The heir is the broker, has the key, and its log is on the disk without gap or fork."""
    world, files = upgrade.world, upgrade.disk.files
    assert world.context.platform.measurement == upgrade.heir.runtime.measurement
    assert world.context.keys_of(world.context.dataset(upgrade.data.dataset_id))["data"] == upgrade.data.key
    tree, decisions = MerkleFrontier(), list[str]()
    for number in range(files.entry_count):
        raw = files.read_entry(number)
        tree.append(log_leaf(raw))
        entry = LogEntry.decode(raw)
        assert entry.number == number
        decisions.append(entry.decision)
    assert (tree.size, tree.root()) == (world.head.size, world.head.root)
    assert decisions.count("handover") == 1
    assert world.register_data(), "and it works"


def points(directory: Path) -> range:
    """Numbers of the calls of a whole upgrade."""
    upgrade = Upgrade(directory)
    first = upgrade.disk.calls + 1
    upgrade.run()
    last = upgrade.disk.calls
    require_whole(upgrade)
    return range(first, last + 1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_point_leaves_one_that_goes_on(tmp_path: Path, after: bool) -> None:
    numbers, older, newer = points(tmp_path / "whole"), 0, 0
    assert len(numbers) >= 10
    for number in numbers:
        upgrade = Upgrade(tmp_path / str(number))
        upgrade.disk.kill_at, upgrade.disk.after = number, after
        with pytest.raises(KilledError):
            upgrade.run()
        upgrade.disk.kill_at = -1
        upgrade.disk.boot()
        try:  # whose is the state now?
            upgrade._start(older=True)
            older += 1
        except AuthenticityError:
            upgrade.disk.boot()
            upgrade._start(older=False)
            newer += 1
        upgrade.run()
        require_whole(upgrade)
    assert older + newer == len(numbers)
    assert older > newer > 0
