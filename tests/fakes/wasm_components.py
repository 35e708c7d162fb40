"""Components of the `wasm` sandbox, written in WAT: what design code could be at its worst (side: library).

`component()` puts a core module behind the interface of common/sandbox/wasm/design.wit. The module exports `memory`,
`realloc`, `design` and `after`; each has a harmless default that a test replaces.
"""

import json
from typing import Any

from wasmtime import wat2wasm

from common.bundle import (
    COMPONENT_FILE,
    DESCRIPTION_FILE,
    BundleContents,
    BundleManifest,
    ColumnSpec,
    TensorSpec,
    design_layout,
)
from common.sandbox.wasm.interface import Column, Label, Metrics, Profile

MAX_PARAMETERS = 10_000

A_DESIGN: dict[str, Any] = {
    "type": "design",
    "version": 1,
    "graph": {
        "type": "model-graph",
        "version": 1,
        "input": {"shape": [2], "dtype": "float32"},
        "parameters": [{"name": "w", "shape": [3, 2], "initial": {"kind": "xavier_uniform"}}],
        "nodes": [{"op": "linear", "name": "out", "inputs": ["input"], "weight": "w"}],
        "output": "out",
    },
    "loss": {"kind": "cross_entropy"},
    "optimiser": {"kind": "sgd", "learning_rate": 0.1},
}
DESIGN_TEXT = json.dumps(A_DESIGN)

PROFILE = Profile(
    rows=100,
    columns=(Column("x", "float32", (2,), 0.0, 1.0, 0.5, 0.25),),
    label=Label(Column("y", "int64", (), 0.0, 2.0, 1.0, 0.5), counts=(30, 30, 40)),
    answer=(3,),
    trainers=2,
    rounds=4,
    steps_per_round=10,
    batch_rows=8,
    max_parameters=MAX_PARAMETERS,
    max_flops_per_row=1_000_000,
)
METRICS = Metrics(epoch=0, steps=10, loss_mean=1.0, loss_last=0.9)

TYPES = """
  (type $column (record (field "name" string) (field "dtype" string) (field "shape" (list u32)) (field "min" f64)
    (field "max" f64) (field "mean" f64) (field "std" f64)))
  (type $label (record (field "column" $column) (field "classes" u32) (field "counts" (list u64))))
  (type $profile (record (field "rows" u64) (field "columns" (list $column)) (field "label" $label)
    (field "answer" (list u32)) (field "trainers" u32) (field "rounds" u32) (field "steps-per-round" u32)
    (field "batch-rows" u32) (field "max-parameters" u64) (field "max-flops-per-row" u64) (field "seed" u64)))
  (type $metrics (record (field "epoch" u32) (field "steps" u64) (field "loss-mean" f64) (field "loss-last" f64)))
  (type $change (record (field "learning-rate" f64) (field "weight-decay" f64) (field "augmentation" f64)))
  (type $steering (variant (case "continue") (case "change" $change) (case "stop")))
"""
_NAMES = ("column", "label", "profile", "metrics", "change", "steering")

FUNCTIONS = """
  (func $design (param "profile" $profile) (result string)
    (canon lift (core func $core-design) (memory $memory) (realloc $realloc)))
  (func $after (param "metrics" $metrics) (result $steering)
    (canon lift (core func $core-after) (memory $memory) (realloc $realloc)))
"""

MEMORY = '(memory (export "memory") 4)'
"""64 KiB pages: the design's text at 1024, what comes in from 65536 on."""

REALLOC = """
  (global $next (mut i32) (i32.const 65536))
  (func (export "realloc") (param $old i32) (param i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
"""
"""Hands out memory and takes none back."""


def quoted(raw: bytes) -> str:
    """Bytes as a string of WAT."""
    return '"' + "".join(f"\\{byte:02x}" for byte in raw) + '"'


def answering(text: str | bytes = DESIGN_TEXT, at: int = 1024) -> str:
    """A `design` that returns this text, which lies `at` that place."""
    raw = text.encode() if isinstance(text, str) else text
    return f"""
      (data (i32.const {at}) {quoted(raw)})
      (data (i32.const 512) {quoted(at.to_bytes(4, "little") + len(raw).to_bytes(4, "little"))})
      (func (export "design") (param i32) (result i32) (i32.const 512))
    """


def designing(body: str) -> str:
    """A `design` with this body: param 0 points to the profile, the result points to (pointer, length)."""
    return f'(func (export "design") (param i32) (result i32) {body})'


def steering(body: str = "(i32.const 768)") -> str:
    """An `after-epoch` with this body: params epoch (i32), steps (i64), losses (f64); the result points to a variant.

    At 768 there are zeros: `continue`.
    """
    return f'(func (export "after") (param i32 i64 f64 f64) (result i32) {body})'


def component(
    *,
    memory: str = MEMORY,
    realloc: str = REALLOC,
    design: str | None = None,
    after: str | None = None,
    module: str = "",
    imports: str = "",
    outer: str = "",
    types: str = TYPES,
    functions: str = FUNCTIONS,
    interface: str = "cloister:design/modelling@1.0.0",
) -> bytes:
    """A component. `module`, `imports`: more fields of the core module; `outer`: of the component, before the rest."""
    exported = "".join(f'(export "{name}" (type ${name}))' for name in _NAMES)
    return wat(f"""(component
      {outer}
      (core module $m {imports} {memory} {realloc} {design or answering()} {after or steering()} {module})
      (core instance $i (instantiate $m))
      (alias core export $i "memory" (core memory $memory))
      (alias core export $i "realloc" (core func $realloc))
      (alias core export $i "design" (core func $core-design))
      (alias core export $i "after" (core func $core-after))
      {types} {functions}
      (instance $modelling {exported} (export "design" (func $design)) (export "after-epoch" (func $after)))
      (export "{interface}" (instance $modelling)))""")


def wat(text: str) -> bytes:
    """WAT to bytes."""
    return bytes(wat2wasm(text))


def wasm_bundle(code: bytes, profile: Profile = PROFILE) -> BundleContents:
    """A bundle of the kind `wasm` with this component, for data of this profile."""
    column, max_parameters = profile.columns[0], profile.max_parameters
    manifest = BundleManifest(
        name="designed",
        bundle_version="1",
        entry="designed:Designed",
        kind="wasm",
        max_parameters=max_parameters,
        input=ColumnSpec.model_validate({"column": "x", "shape": column.shape, "dtype": column.dtype}),
        label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=profile.answer, dtype="float32"),
        layout=design_layout(max_parameters),
    )
    return BundleContents(manifest=manifest, files={DESCRIPTION_FILE: b"", COMPONENT_FILE: code})
