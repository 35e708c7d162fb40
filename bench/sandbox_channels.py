"""What a deliberate sender in a `native` sandbox gets across to a host that watches CPU time and memory (side: owner).

The sender (bench/sandbox_sender) keys each symbol busy or idle, or with and without touched memory. The receiver reads
/proc of the sandbox's process at each symbol's end. For each length T of a symbol, with a share e of symbols read
wrongly, this pair has (1 - H(e)) / T bits per second (a binary symmetric channel: Shannon 1948, section 12); the best
length counts. It is what one simple pair reaches on this machine, so a *lower* estimate of what a host can read. As a
host could, root lets both run before all else, but for burn-in work, which would starve the rest of the machine.

*Burn-in work* is a thread that is always busy, on the same core as the sender: the sum over the process is then
constant, but a host reads each thread by itself.
"""

import contextlib
import math
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from bench import sandbox_sender
from bench.sandbox_sender import BLOCK_BYTES, bit_of
from common.bundle import BundleContents, BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.sandbox.native import NativeTrainingSandbox
from common.sandbox.protocol import SandboxLimits, SandboxSeeds

SYMBOL_MICROSECONDS: Final = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000)
SECONDS_EACH: Final = 3.0
LEAST_SYMBOLS: Final = 100

_TIME, _MEMORY = 0, 1

Reading = Callable[[int], float]
"""From a process number: what is watched, a quantity that grows (CPU seconds) or that is (bytes)."""


@dataclass(frozen=True)
class ChannelFigures:
    """Best bits per second, and the symbol length and share of errors that it was reached with, in words."""

    cpu_channel_bits_per_second: float
    cpu_channel_burn_in_bits_per_second: float
    cpu_channel_burn_in_by_thread_bits_per_second: float
    memory_channel_bits_per_second: float
    channel_details: dict[str, str]


@dataclass(frozen=True)
class Rate:
    """What came across with one length of symbols."""

    microseconds: int
    symbols: int
    errors: int

    @property
    def bits_per_second(self) -> float:
        """Capacity of a binary symmetric channel with this share of errors."""
        share = min(self.errors / self.symbols, 1 - self.errors / self.symbols)
        entropy = 0.0 if share == 0 else -share * math.log2(share) - (1 - share) * math.log2(1 - share)
        return (1 - entropy) / (self.microseconds / 1e6)


def process_seconds(pid: int) -> float:
    """CPU time of all threads of a process (proc(5), schedstat: nanoseconds on a CPU)."""
    return sum(thread_seconds(int(one)) for one in _threads(pid))


def _threads(pid: int) -> list[str]:
    return [one.name for one in Path(f"/proc/{pid}/task").iterdir()]


def thread_seconds(pid: int) -> float:
    """CPU time of the process' first thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident_bytes(pid: int) -> float:
    """Memory that is there."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def measure_channels() -> ChannelFigures:
    """Send and receive by each channel."""
    details, best = {}, {}
    for name, way, reading, burns in (
        ("cpu", _TIME, process_seconds, False),
        ("cpu with burn-in", _TIME, process_seconds, True),
        ("cpu with burn-in, by thread", _TIME, thread_seconds, True),
        ("memory", _MEMORY, resident_bytes, False),
    ):
        with _sender() as (sandbox, pid):
            rates = [measure_rate(sandbox, pid, way, each, reading, burns=burns) for each in SYMBOL_MICROSECONDS]
        one = max(rates, key=lambda rate: rate.bits_per_second)
        best[name] = round(one.bits_per_second, 1)
        details[name] = f"{one.microseconds / 1000:g} ms, {one.errors} of {one.symbols} wrong"
    return ChannelFigures(
        best["cpu"], best["cpu with burn-in"], best["cpu with burn-in, by thread"], best["memory"], details
    )


@contextlib.contextmanager
def _sender() -> Iterator[tuple[NativeTrainingSandbox, int]]:
    manifest = BundleManifest(
        name="sender", bundle_version="1", entry="sandbox_sender:Sender",
        input=ColumnSpec(column="x", shape=(4,), dtype="int64"), label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=(1,), dtype="float32"), layout=(StateTensor(name="weight", shape=(1,)),),
    )  # fmt: skip
    source = Path(sandbox_sender.__file__).read_bytes()
    contents = BundleContents(manifest=manifest, files={"provider.toml": b"", "sandbox_sender.py": source})
    before = set(psutil.Process().children(recursive=True))
    sandbox = NativeTrainingSandbox.start(
        contents, rows_per_round=1, seeds=SandboxSeeds(1, 2), limits=SandboxLimits(memory_bytes=1 << 30)
    )
    inside = set(psutil.Process().children(recursive=True)) - before
    (python,) = [one for one in inside if one.name().startswith("python")]
    try:
        yield sandbox, python.pid
    finally:
        sandbox.close()


@contextlib.contextmanager
def _first(pid: int, *, wanted: bool) -> Iterator[None]:
    """Let receiver and sender run before all that shares time."""
    pids = (0, pid) if wanted and os.getuid() == 0 else ()
    for one in pids:
        os.sched_setscheduler(one, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        for one in pids:
            os.sched_setscheduler(one, os.SCHED_OTHER, os.sched_param(0))


def measure_rate(
    sandbox: NativeTrainingSandbox, pid: int, way: int, microseconds: int, reading: Reading, *, burns: bool
) -> Rate:
    """Let it send symbols of one length; how many were read wrongly."""
    symbols = max(LEAST_SYMBOLS, int(SECONDS_EACH * 1e6 / microseconds))
    if burns:
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
    rows = {"x": np.array([[way, microseconds, symbols, int(burns)]]), "y": np.array([0])}
    sending = threading.Thread(target=sandbox.run_round, args=(np.zeros(1, np.float32), rows, 1, 1, 600.0))
    with _first(pid, wanted=not burns):
        sending.start()
        seen = _receive(pid, way, microseconds / 1e6, symbols, reading)
        sending.join()
    return Rate(microseconds, len(seen), sum(read != bit_of(number) for number, read in seen))


def _receive(pid: int, way: int, seconds: float, symbols: int, reading: Reading) -> list[tuple[int, int]]:
    """(number, bit read) of symbols in the middle of the message; those that the receiver slept through are guesses."""
    first = int(time.monotonic() / seconds) + 2
    levels: dict[int, float] = {}
    before = reading(pid)
    for number in range(first, first + symbols - 3):
        moment = (number + (1.0 if way == _TIME else 0.7)) * seconds
        time.sleep(max(0.0, moment - time.monotonic()))
        now = reading(pid)
        levels[number] = now - before if way == _TIME else now
        before = now
    middle = statistics.median(levels.values()) if way == _TIME else min(levels.values()) + BLOCK_BYTES / 2
    if way == _TIME:
        low, high = (statistics.quantiles(levels.values(), n=10)[at] for at in (0, -1))
        middle = (low + high) / 2
    return [(number, int(level > middle)) for number, level in levels.items()]
