"""What crosses the wall of a sandbox, to the byte; little-endian (side: sandbox; enclaves import it too).

    control pipe     enclave -> child   records of CONTROL.size bytes, one for each unit of work
    completion pipe  child -> enclave   one byte at start, one for each unit of work; the value is ignored
    input window     read-only in the child: rows, column after column, each from a multiple of ALIGNMENT bytes
    state window     read-only in the child: P float32
    output buffer    HEADER, then P float32 (training), `query_rows` answers (query) or a document (export); copied,
                     then validated. Where refused calls are counted, the header's last 32 bytes have a count, at most
                     255, of each class of calls; they grow at any time. Before the first query a header of sequence 0
                     may say which engine was chosen (engine_report.py)

The header's `sequence` repeats the control record's, so that an old output is not taken for a new one.
"""

import json
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final, Self

CONTROL: Final = struct.Struct("<QIIIIIdddd")
"""sequence u64, operation u32, steps u32, batch u32, round u32, bfloat16 u32 (0, 1), seconds f64, and a course's
three factors f64."""

VERDICT: Final = struct.Struct("<QIIdd")
COUNTS_BYTES: Final = 32
HEADER: Final = struct.Struct(f"{VERDICT.format}{COUNTS_BYTES}x")
"""sequence u64, status u32, steps done u32, mean loss f64, last loss f64, counts or zero: 64 bytes."""

ALIGNMENT: Final = 64

DOCUMENT_BYTES: Final = 128 << 10
"""Of an exported graph's output: length u32 | document | zeros, as a DESIGN payload (common/exchange/steering.py)."""

CONFIGURATION_FILE: Final = "/configuration.json"
INNER_FILTER_FILE: Final = "/inner_filter.bpf"
BUNDLE_FOLDER: Final = "/bundle"
SCRATCH_FOLDER: Final = "/scratch"
THREAD_FOLDER: Final = "/proc/self/task"
"""Where there is a GPU, the scratch folder once more (gpu_probe.py)."""

READY: Final = b"."

CPU: Final = "cpu"
CUDA: Final = "cuda"
"""Devices as torch and orders name them."""


@dataclass(frozen=True)
class Course:
    """Which round of the job it is, and factors on what a design says; provider code is told none of them.

    `bf16`: the toolchain of the job (local_training).
    """

    round: int = 0
    learning_rate: float = 1.0
    weight_decay: float = 1.0
    augmentation: float = 1.0
    bf16: bool = False


PLAIN_COURSE: Final = Course()


class Operation(IntEnum):
    """What a unit of work is."""

    INITIAL_STATE = 1
    ROUND = 2
    QUERY = 3
    GRAPH = 4
    QUANTISE = 5


class Status(IntEnum):
    """How a unit of work ended, as the child says."""

    NOTHING = 0
    DONE = 1
    IMPORT = 2
    RAISED = 3
    TIMEOUT = 4
    KILLED = 5
    OUTPUT = 6


@dataclass(frozen=True)
class Record:
    """One control record: what to do, and within how many seconds."""

    sequence: int
    operation: int
    steps: int
    batch: int
    seconds: float
    course: Course = PLAIN_COURSE

    def encode(self) -> bytes:
        """CONTROL.size bytes."""
        course = self.course
        head = (self.sequence, self.operation, self.steps, self.batch, course.round, course.bf16, self.seconds)
        return CONTROL.pack(*head, course.learning_rate, course.weight_decay, course.augmentation)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """From CONTROL.size bytes."""
        sequence, operation, steps, batch, number, bf16, seconds, rate, decay, augmentation = CONTROL.unpack(raw)
        course = Course(number, rate, decay, augmentation, bool(bf16))
        return cls(sequence, operation, steps, batch, seconds, course)


@dataclass(frozen=True)
class Column:
    """A column in the input window: `rows` rows of `shape`, from byte `offset`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Configuration:
    """All that a child is started with; `layout` is (name, shape) of the state's tensors.

    `design` is the file of the bundle that holds a checked design or graph, which trusted code runs; None: `entry` is
    code. `call_classes`: numbers of system calls by class, the last class being that of all others; empty where refused
    calls are not counted. `engines`: the state is there from the start, and the fastest engine is chosen for the graph
    before the first query, in no lower `precision` (engine_report.py); `ranges` of int8, in the graph's order.
    `device`: where a training computes, `cpu` or `cuda`; of any other child it is the first.
    """

    entry: str
    design: str | None
    layout: tuple[tuple[str, tuple[int, ...]], ...]
    columns: tuple[Column, ...]
    rows: int
    answer_shape: tuple[int, ...]
    answer_dtype: str
    seed_initial: int
    seed_stream: int
    memory_bytes: int
    threads: int
    file_bytes: int
    cpu_seconds: int
    compute_threads: int
    control_fd: int
    completion_fd: int
    input_fd: int
    state_fd: int
    output_fd: int
    call_classes: tuple[tuple[int, ...], ...] = ()
    engines: bool = False
    precision: int = 1
    ranges: tuple[tuple[float, float], ...] = ()
    device: str = CPU

    def encode(self) -> bytes:
        """As JSON; a processor's child is told nothing of devices."""
        fields = asdict(self)
        if self.device == CPU:
            del fields["device"]
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """From the JSON that the enclave wrote."""
        fields = json.loads(raw)
        fields["layout"] = tuple((name, tuple(shape)) for name, shape in fields["layout"])
        fields["columns"] = tuple(
            Column(one["name"], one["dtype"], tuple(one["shape"]), one["offset"]) for one in fields["columns"]
        )
        fields["answer_shape"] = tuple(fields["answer_shape"])
        fields["call_classes"] = tuple(map(tuple, fields["call_classes"]))
        fields["ranges"] = tuple(map(tuple, fields["ranges"]))
        return cls(**fields)
