"""A provider's bundle: code, description and layout of its state, as one message that gets sealed (side: library).

    provider.toml                            name, version, entry "module:Class", input, label, answer, rows per query
    *.py and data files                      ordinary PyTorch, imported only inside a sandbox
    layout, measured when packing            (name, shape) of each float tensor of `state_dict()`, in its order

That is the kind `native`. A bundle of the kind `wasm` has a component instead of Python, and its layout is one tensor
`design` of `max_parameters` values, because what is designed depends on the data, and sizes that a host sees must not.

The *state* of a model is one float32 vector of P values: parameters and floating-point buffers in `state_dict()` order;
integer buffers (counters) are left out and keep what the constructor gave them. Everything that is sized by the
manifest is bounded here, because a trainer enclave allocates by what a provider wrote.

Not checked: what the code does. That is the sandbox's business, and nobody else imports it.
"""

import functools
import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from common.crypto.digests import sha256
from common.identifiers import Digest
from common.messages.base import Message

DESCRIPTION_FILE: Final = "provider.toml"
DESIGN_FILE: Final = "design.json"
DESIGN_ENTRY: Final = "cloister:Design"
"""The entry of a bundle that holds a design instead of code (common/design_bundle.py)."""

GRAPH_FILE: Final = "graph.json"
GRAPH_ENTRY: Final = "cloister:Graph"
"""The entry of what serves the graph of native code (common/exported_graph.py). No provider packs one."""

COMPONENT_FILE: Final = "design.wasm"
"""The component of a bundle of the kind `wasm`; beside it there is the description alone."""

DESIGN_TENSOR: Final = "design"

MAX_CONTENT_BYTES: Final = 16 << 20
"""Most bytes of all files together: code and small tables, not weights."""

MAX_WASM_CONTENT_BYTES: Final = 29 << 20
"""The same for the kind `wasm`: a component has CPython in it (common/sandbox/wasm/outline.py bounds it to 28 MiB)."""

MAX_BUNDLE_BYTES: Final = 40 << 20
"""Most bytes of an encoded bundle: base64 of the content, paths and manifest."""

MAX_FILES: Final = 256
MAX_STATE_COUNT: Final = 1 << 28
"""Most float32 values of a state (1 GiB)."""

MAX_ROW_BYTES: Final = 16 << 20
"""Most bytes of one row of a column, and of the answers to one query."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_ITEM_BYTES: Final = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "float64": 8}


def checked_path(path: str) -> str:
    """A strict relative path: plain parts joined by single slashes, so neither `..` nor an absolute one."""
    if len(path) > 200 or not all(_PART.fullmatch(part) for part in path.split("/")):
        raise ValueError("not a strict relative path")
    return path


DType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]
Shape = Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...], Field(max_length=8)]
BundlePath = Annotated[str, AfterValidator(checked_path)]
Entry = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$")]
BundleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
BundleVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,31}$")]
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


@functools.lru_cache(maxsize=256)
def _row_bytes(shape: tuple[int, ...], dtype: str) -> int:
    return math.prod(shape) * _ITEM_BYTES[dtype]


class TensorSpec(Message):
    """Shape and dtype (NumPy's names) of one row; `[]` is a scalar."""

    shape: Shape
    dtype: DType

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, without padding."""
        return _row_bytes(self.shape, self.dtype)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.row_bytes > MAX_ROW_BYTES:
            raise ValueError("a row is too large")
        return self


class ColumnSpec(TensorSpec):
    """A column of the owner's data set that the provider code reads."""

    column: ColumnName


class StateTensor(Message):
    """One float tensor of the state. `buffer`: it is no parameter that is trained, but, say, a running statistic."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_STATE_COUNT)], ...], Field(max_length=8)]
    buffer: bool = False

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class BundleDescription(Message):
    """What `provider.toml` says: everything of the manifest but the layout.

    `max_parameters`, for the kind `wasm` alone: most values of a state that its designs may have.
    """

    name: BundleName
    bundle_version: BundleVersion
    entry: Entry
    input: ColumnSpec
    label: ColumnSpec
    answer: TensorSpec
    query_rows: Annotated[int, Field(ge=1, le=4096)] = 1
    kind: Literal["native", "wasm"] = "native"
    max_parameters: Annotated[int, Field(ge=1, le=MAX_STATE_COUNT)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.kind == "wasm") != (self.max_parameters is not None):
            raise ValueError("max_parameters belongs to the kind wasm, which needs it")
        if self.input.column == self.label.column:
            raise ValueError("input and label are the same column")
        if self.query_rows * max(self.input.row_bytes, self.answer.row_bytes) > MAX_ROW_BYTES:
            raise ValueError("a query is too large")
        return self


class BundleManifest(BundleDescription):
    """A bundle's description with its measured layout.

    A query is always `query_rows` rows of `input` (the sandbox fills up with zeros) and its answer as many rows of
    `answer`, so that neither size nor work depends on how many rows a user asked about.
    """

    type: Literal["bundle-manifest"] = "bundle-manifest"
    version: Literal[1] = 1
    layout: Annotated[tuple[StateTensor, ...], Field(min_length=1, max_length=65536)]

    @model_validator(mode="after")
    def _layout_bounded(self) -> Self:
        if not 1 <= self.state_count <= MAX_STATE_COUNT:
            raise ValueError("the state is empty or too large")
        if len({tensor.name for tensor in self.layout}) != len(self.layout):
            raise ValueError("a name occurs twice in the layout")
        if self.max_parameters is not None and self.layout != design_layout(self.max_parameters):
            raise ValueError("the layout of the kind wasm is one tensor of max_parameters values")
        return self

    @property
    def designs(self) -> bool:
        """Whether its code designs models (kind `wasm`), so that a job's model is known only when it has seen data."""
        return self.kind == "wasm"

    @property
    def state_count(self) -> int:
        """P: number of float32 values of the state."""
        return sum(tensor.count for tensor in self.layout)

    @property
    def buffers(self) -> tuple[slice, ...]:
        """Where in the state its buffers are."""
        return buffer_slices(self.layout)

    @property
    def layout_digest(self) -> Digest:
        """SHA-256 over the layout's canonical JSON: what a model must have been trained with to be served."""
        rows = [[tensor.name, list(tensor.shape)] for tensor in self.layout]
        return sha256(json.dumps(rows, separators=(",", ":"), ensure_ascii=True).encode())


class BundleContents(Message):
    """The bundle: manifest and files by path. Its encoded bytes are what the provider seals."""

    type: Literal["bundle-contents"] = "bundle-contents"
    version: Literal[1] = 1
    manifest: BundleManifest
    files: Annotated[dict[BundlePath, bytes], Field(min_length=2, max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        require_files(self.files, self.manifest.kind)
        if self.has_design and self.files.keys() != {DESCRIPTION_FILE, DESIGN_FILE}:
            raise ValueError(f"a design's bundle holds {DESIGN_FILE} and {DESCRIPTION_FILE} alone")
        if self.has_graph and self.files.keys() != {DESCRIPTION_FILE, GRAPH_FILE}:
            raise ValueError(f"a graph's bundle holds {GRAPH_FILE} and {DESCRIPTION_FILE} alone")
        return self

    @property
    def has_design(self) -> bool:
        """Whether it holds a design, to be checked (common/design_bundle.py), and no code."""
        return self.manifest.entry == DESIGN_ENTRY

    @property
    def has_graph(self) -> bool:
        """Whether it holds a graph, to be checked (common/exported_graph.py), and no code."""
        return self.manifest.entry == GRAPH_ENTRY

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Decode an opened bundle. Raises `FormatError`; the texts never quote its content."""
        return cls.decode(raw, limit=MAX_BUNDLE_BYTES)


def buffer_slices(layout: Sequence[StateTensor]) -> tuple[slice, ...]:
    """Where in a state of this layout its buffers are."""
    ends = itertools.accumulate(tensor.count for tensor in layout)
    return tuple(slice(end - tensor.count, end) for tensor, end in zip(layout, ends, strict=True) if tensor.buffer)


def design_layout(max_parameters: int) -> tuple[StateTensor, ...]:
    """The layout of a bundle of the kind `wasm`."""
    return (StateTensor(name=DESIGN_TENSOR, shape=(max_parameters,)),)


def require_files(files: dict[str, bytes], kind: str = "native") -> None:
    """Refuse too many bytes, a file that is also a folder of others, and files that are missing (`ValueError`)."""
    if sum(map(len, files.values())) > (MAX_WASM_CONTENT_BYTES if kind == "wasm" else MAX_CONTENT_BYTES):
        raise ValueError("the files are too large")
    if kind == "wasm" and files.keys() != {DESCRIPTION_FILE, COMPONENT_FILE}:
        raise ValueError(f"a bundle of the kind wasm has {DESCRIPTION_FILE} and {COMPONENT_FILE}")
    folders = {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}
    if folders & files.keys():
        raise ValueError("a path is file and folder at once")
    require_description(files)


def require_description(files: dict[str, bytes]) -> None:
    """Refuse files without a description (`ValueError`)."""
    if DESCRIPTION_FILE not in files:
        raise ValueError(f"{DESCRIPTION_FILE} is missing")
