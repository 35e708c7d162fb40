"""Design code in plain Python, behind the interface of the `wasm` sandbox: good, hostile, of another mind elsewhere.

It designs the linear model that tests/fakes/in_memory_job trains: F features, one number out, mean squared error.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.bundle import (
    COMPONENT_FILE,
    DESCRIPTION_FILE,
    BundleContents,
    BundleManifest,
    ColumnSpec,
    TensorSpec,
    design_layout,
)
from common.model_graph.design import Change
from common.sandbox.wasm.designer import DesignOutcome, SteeringOutcome
from common.sandbox.wasm.interface import Metrics, Profile

FEATURES = 20
MAX_PARAMETERS = 200

GO_ON = Change(action="continue")
STOP = Change(action="stop")


def designing_bundle(answer: tuple[int, ...] = ()) -> BundleContents:
    """A bundle of design code; the component in it is none, so that only a stand-in can start."""
    manifest = BundleManifest(
        name="plain-design", bundle_version="1", entry="design:Design", kind="wasm", max_parameters=MAX_PARAMETERS,
        input=ColumnSpec(column="x", shape=(FEATURES,), dtype="float32"), query_rows=4,
        label=ColumnSpec(column="y", shape=(), dtype="float32"), answer=TensorSpec(shape=answer, dtype="float32"),
        layout=design_layout(MAX_PARAMETERS),
    )  # fmt: skip
    return BundleContents(manifest=manifest, files={DESCRIPTION_FILE: b"", COMPONENT_FILE: b"none"})


def linear_design(features: int = FEATURES, **changes: Any) -> str:
    """The document of a linear model without bias."""
    document = {
        "type": "design",
        "version": 1,
        "graph": {
            "type": "model-graph",
            "version": 1,
            "input": {"shape": [features], "dtype": "float32"},
            "parameters": [{"name": "w", "shape": [1, features], "initial": {"kind": "zeros"}}],
            "nodes": [
                {"op": "linear", "name": "products", "inputs": ["input"], "weight": "w"},
                {"op": "sum", "name": "out", "inputs": ["products"], "axes": [1]},
            ],
            "output": "out",
        },
        "loss": {"kind": "mse"},
        "optimiser": {"kind": "sgd", "learning_rate": 0.1},
    }
    return json.dumps(document | changes)


def too_large_design() -> str:
    """More parameters than the bundle says."""
    document = json.loads(linear_design())
    document["graph"]["parameters"].append({"name": "m", "shape": [MAX_PARAMETERS], "initial": {"kind": "zeros"}})
    return json.dumps(document)


def another_answer() -> str:
    """One number too many axes: the answer is [1]."""
    document = json.loads(linear_design())
    document["graph"]["nodes"].pop()
    document["graph"]["output"] = "products"
    return json.dumps(document)


@dataclass
class PlainDesigner:
    """`text` is what it designs, or the code of its failure; `steer` what it wants after an epoch, or a code."""

    text: str | Callable[[Profile], str] = field(default_factory=linear_design)
    steer: Callable[[Metrics], Change | str] = lambda _metrics: GO_ON
    profiles: list[Profile] = field(default_factory=list)
    told: list[Metrics] = field(default_factory=list)
    closed: bool = False

    def design(self, profile: Profile, deadline_seconds: float) -> DesignOutcome:  # noqa: ARG002 - of the protocol
        """The document."""
        self.profiles.append(profile)
        text = self.text if isinstance(self.text, str) else self.text(profile)
        return DesignOutcome(code=text) if text.startswith("provider.") else DesignOutcome(text)

    def after_epoch(self, metrics: Metrics, deadline_seconds: float) -> SteeringOutcome:  # noqa: ARG002 - of the protocol
        """What it wants."""
        self.told.append(metrics)
        wanted = self.steer(metrics)
        return SteeringOutcome(code=wanted) if isinstance(wanted, str) else SteeringOutcome(wanted)

    def close(self) -> None:
        """Nothing to end."""
        self.closed = True
