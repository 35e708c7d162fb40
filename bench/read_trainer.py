"""The enclave's half of `cloister bench reads`: a trainer's own code behind a real door (side: owner).

    python -m bench.read_trainer SETTINGS.json

Its stdin and stdout are its door; what it measured goes to the `figures` file of its settings. Rounds are asked of a
real sandbox as a job asks them: after the ticks that state and delta take on the wire, once their data are ready.
"""

import json
import os
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from client.scheduling import ScheduleWishes, plan_schedule
from common.bundle_packing import pack_bundle
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.signing import SigningKey
from common.data_shares import share_of
from common.door import Door
from common.door_objects import DoorObjects
from common.exchange.clock import TickClock, run_clock
from common.exchange.frames import FrameKind
from common.exchange.schedule import ticks_to_send
from common.identifiers import BundleId, DatasetId
from common.messages.objects import ObjectRef
from common.messages.order import Schedule, TrainingOrder
from common.sandbox.native import NativeTrainingSandbox
from common.sandbox.protocol import Rows, SandboxSeeds, StateP
from services.trainer_enclave.reading import ChunkReads, ReadClock
from services.trainer_enclave.tables import Tables
from services.trainer_enclave.window_rows import WindowRows

EXAMPLE: Final = Path(__file__).resolve().parents[1] / "examples" / "providers" / "resnet20_cifar"
SECONDS: Final = 300.0
QUIET_ROUNDS: Final = 4


@dataclass(frozen=True)
class ReadFigures:
    """What a trainer saw. Seconds are of all rounds together; `compute_ratio`: a round beside reads over one without.

    `wait_share`: time that rounds waited for data, `rows_share`: time that gathering their rows took, of the time that
    they took. `peak_mib`: resident set of the enclave's process at its highest, without the sandbox's own.
    """

    data_mib: int
    read_mib: float
    reads_per_second: float
    rounds: int
    rounds_seconds: float
    wait_share: float
    rows_share: float
    compute_ratio: float
    reader_core_share: float
    skipped_ticks: int
    peak_mib: float
    before_mib: float


class Trainer:
    """One slot over one data set, without exchange."""

    def __init__(self, door: Door, reference: ObjectRef, key: SecretKey, wishes: ScheduleWishes) -> None:
        share = share_of([reference.chunk_count], 0, 1)
        contents = pack_bundle(EXAMPLE)
        self._rows_per_round = wishes.steps * wishes.batch
        self._sandbox = NativeTrainingSandbox.start(
            contents, rows_per_round=self._rows_per_round, seeds=SandboxSeeds(1, 2)
        )
        self._state_P: StateP = self._required(self._sandbox.initial_state(SECONDS).state_P)
        noise = np.random.default_rng(0).integers(0, 256, (self._rows_per_round, 3, 32, 32), dtype=np.uint8)
        self._wishes, self._noise = wishes, Rows(image=noise, label=np.zeros(self._rows_per_round, np.int64))
        self.quiet = statistics.median([self._train(self._noise) for _ in range(QUIET_ROUNDS + 1)][1:])
        step = max(1, round(1000 * self.quiet / wishes.steps))
        planned = ScheduleWishes(**asdict(wishes) | {"step_milliseconds": step})
        self.schedule = plan_schedule(planned, contents.manifest.state_count, share=share)
        order, seed = _order(self.schedule), SecretKey.generate()
        self.reads = ChunkReads([(reference, key)], DoorObjects(door), seed, order, 0)
        tables = Tables(self.reads.parts, [None], {"image", "label"})
        self._rows = WindowRows(self.reads, tables, seed, 0, self._rows_per_round)
        self._over, self.taken = threading.Event(), list[int]()
        self._read_clock = ReadClock(self.reads, self.schedule.reads_per_tick)

    def run(self) -> tuple[list[float], list[float], list[float], float]:
        """Rounds until all are done: seconds that each waited, gathered and trained, and of all from the first on."""
        self._read_clock.start()
        clock = TickClock(self.schedule, time.monotonic())
        ticking = threading.Thread(
            target=run_clock, args=(clock, time.monotonic, self._over.wait, self._tick), daemon=True
        )
        ticking.start()
        tick = self.schedule.tick_seconds
        transfer = tick * sum(ticks_to_send(kind, self.schedule) for kind in (FrameKind.STATE, FrameKind.DELTA))
        time.sleep(self.schedule.warmup_ticks * tick)
        waited, gathered, trained, begin = list[float](), list[float](), list[float](), time.monotonic()
        for number in range(self.schedule.rounds):
            time.sleep(transfer)
            at = time.monotonic()
            while not self.reads.ready(number):
                time.sleep(tick)
            found = time.monotonic()
            rows = self._rows.of_round(number)
            waited.append(found - at)
            gathered.append(time.monotonic() - found)
            trained.append(self._train(rows))
        seconds = time.monotonic() - begin
        self._over.set()
        ticking.join()
        self._sandbox.close()
        if self.reads.failure is not None:
            raise RuntimeError(self.reads.failure)
        return waited, gathered, trained, seconds

    def _tick(self, tick: int) -> bool:
        self.taken.append(tick)
        self._read_clock.tick(tick)
        return True

    def _train(self, rows: Rows) -> float:
        begin = time.monotonic()
        outcome = self._sandbox.run_round(self._state_P, rows, self._wishes.steps, self._wishes.batch, SECONDS)
        self._state_P = self._required(outcome.state_P)
        return time.monotonic() - begin

    @staticmethod
    def _required(state_P: StateP | None) -> StateP:
        if state_P is None:
            raise RuntimeError("the example does not train")
        return state_P


def _order(schedule: Schedule) -> TrainingOrder:
    """Of its fields reads depend on the public ones alone."""
    party, digest = SigningKey.generate().party, sha256(b"")
    return TrainingOrder(
        nonce=bytes(16), owners=(party,), broker=party, release=digest, datasets=(DatasetId.of(digest),),
        bundle=BundleId.of(digest), trainers=1, schedule=schedule, not_after=1, secret=b"",
    )  # fmt: skip


def resident_mib(name: str) -> float:
    """`VmHWM` or `VmRSS` of this process (proc_pid_status(5)), in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _reader_seconds() -> float:
    """Processor time of the thread that reads."""
    (thread,) = (one for one in threading.enumerate() if one.name == "chunk-reads")
    spent = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]
    return int(spent) / 1e9


def main() -> None:
    """Train, write the figures, end."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    door = Door(sys.stdin.buffer, sys.stdout.buffer, {})
    threading.Thread(target=door.serve, daemon=True).start()
    reference = ObjectRef(root=settings["root"], chunk_count=settings["chunk_count"])
    trainer = Trainer(door, reference, SecretKey(bytes.fromhex(settings["key"])), ScheduleWishes(**settings["wishes"]))
    before = resident_mib("VmRSS")
    began = time.monotonic()
    waited, gathered, trained, seconds = trainer.run()
    schedule, read = trainer.schedule, len(trainer.taken) * trainer.schedule.reads_per_tick
    figures = ReadFigures(
        data_mib=reference.chunk_count,
        read_mib=read,
        reads_per_second=schedule.reads_per_tick / schedule.tick_seconds,
        rounds=len(trained),
        rounds_seconds=seconds,
        wait_share=sum(waited) / seconds,
        rows_share=sum(gathered) / seconds,
        compute_ratio=statistics.median(trained) / trainer.quiet,
        reader_core_share=_reader_seconds() / (time.monotonic() - began),
        skipped_ticks=trainer.taken[-1] + 1 - len(trainer.taken),
        peak_mib=resident_mib("VmHWM"),
        before_mib=before,
    )
    Path(settings["figures"]).write_text(json.dumps(asdict(figures)))
    os._exit(0)  # the door's thread reads until the other end closes


if __name__ == "__main__":
    main()
