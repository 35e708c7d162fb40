"""WasmDesigner: a provider's design code for one job (side: enclave).

The unit of work is the job: one fresh instance answers `design` once and `after_epoch` as often as there are rounds,
remembers between these calls what it likes, and ends with the job. Two jobs share nothing, no instance, no memory, not
the engine.

Nothing that design code does raises here. An outcome with a code of common/refusals.py (`provider.…`) is for ever: the
instance is gone, and every later call returns that code at once.

    provider.import    no component of this sandbox (an import, another interface, too large), or it does not start
    provider.raised    it trapped
    provider.timeout   its fuel or its time was used up, or it took too long to compile
    provider.output    what it returned is no design for this profile and manifest, or a factor out of its bounds
"""

import time
from dataclasses import dataclass
from typing import Final, Self

from pydantic import ValidationError

from common.bundle import COMPONENT_FILE, BundleContents, BundleManifest
from common.design_bundle import bundle_of_design
from common.errors import FormatError
from common.model_graph.checking import GraphBounds, GraphFacts
from common.model_graph.design import Change, Design
from common.model_graph.reading import parse_design
from common.sandbox.protocol import SandboxSeeds
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.engine import compile_within, make_engine
from common.sandbox.wasm.failure import DesignFailure
from common.sandbox.wasm.instance import Instance
from common.sandbox.wasm.interface import Metrics, Profile, metrics_value, parse_steering, profile_value
from common.sandbox.wasm.limits import DEFAULT_LIMITS, WasmLimits

COMPILING_SECONDS: Final = 300.0
"""How long a component may take to compile: CPython takes 10 to 60 s on two cores, by what else they do."""


@dataclass(frozen=True)
class DesignOutcome:
    """Either the document as it was returned, parsed, its graph's facts and the bundle that trains it, or `code`.

    `bundle` holds the design instead of code (common/design_bundle.py): the native sandbox trains and serves it with
    trusted code. Its state has at most `max_parameters` values, the sealed one exactly so many.
    """

    text: str | None = None
    design: Design | None = None
    facts: GraphFacts | None = None
    bundle: BundleContents | None = None
    code: str | None = None


@dataclass(frozen=True)
class SteeringOutcome:
    """Either `change` or `code`."""

    change: Change | None = None
    code: str | None = None


class WasmDesigner:
    """Design code of one job. Not for two threads at once."""

    def __init__(self, manifest: BundleManifest, seeds: SandboxSeeds, limits: WasmLimits) -> None:
        self._manifest = manifest
        self._seed, self._limits = seeds.initial, limits
        self._instance: Instance | None = None
        self._failure: str | None = None
        self._designed = False

    @classmethod
    def start(
        cls,
        contents: BundleContents,
        seeds: SandboxSeeds,
        limits: WasmLimits = DEFAULT_LIMITS,
        *,
        compiled: CompiledDesign | None = None,
        deadline_seconds: float = COMPILING_SECONDS,
    ) -> Self:
        """Check, compile or load, and instantiate. What is wrong with the bundle is every later call's outcome.

        `compiled`: what earlier launches left of this bundle; None: compile.
        """
        designer = cls(contents.manifest, seeds, limits)
        if contents.manifest.kind != "wasm":
            designer._failure = "provider.import"
            return designer
        designer._start(contents.files[COMPONENT_FILE], compiled, time.monotonic() + deadline_seconds)
        return designer

    @property
    def code(self) -> str | None:
        """The code of its failure, if it has failed."""
        return self._failure

    def design(self, profile: Profile, deadline_seconds: float) -> DesignOutcome:
        """The design for this profile, checked against its bounds and the manifest. Called once and first."""
        if self._designed:
            raise RuntimeError("a job is designed once")
        self._designed = True
        try:
            value = self._call("design", profile_value(profile, self._seed), self._limits.design_fuel, deadline_seconds)
            text = self._bounded(value)
            most = min(profile.max_parameters, self._manifest.max_parameters or 0)
            bounds = GraphBounds(state_values=most, flops_per_row=profile.max_flops_per_row)
            design, facts = parse_design(text.encode(), bounds)
            bundle = bundle_of_design(self._manifest, design)
        except (DesignFailure, FormatError, ValidationError) as failure:
            return DesignOutcome(code=self._failed(failure))
        return DesignOutcome(text, design, facts, bundle)

    def after_epoch(self, metrics: Metrics, deadline_seconds: float) -> SteeringOutcome:
        """What it wants after a round."""
        if not self._designed:
            raise RuntimeError("a job is designed before it is steered")
        try:
            value = self._call("after-epoch", metrics_value(metrics), self._limits.epoch_fuel, deadline_seconds)
        except DesignFailure as failure:
            return SteeringOutcome(code=self._failed(failure))
        change = parse_steering(value)
        if change is None:
            return SteeringOutcome(code=self._failed(DesignFailure("provider.output")))
        return SteeringOutcome(change)

    def close(self) -> None:
        """End the instance and give its memory back. Idempotent."""
        self._failed(DesignFailure(self._failure or "provider.killed"))

    def _start(self, component: bytes, compiled: CompiledDesign | None, deadline: float) -> None:
        try:
            engine, left = make_engine(), deadline - time.monotonic()
            loaded = (
                compiled.component(engine, component, left) if compiled else compile_within(engine, component, left)
            )
            self._instance = Instance.start(engine, loaded, self._limits, deadline - time.monotonic())
        except DesignFailure as failure:
            self._failure = failure.code

    def _call(self, name: str, value: object, fuel: int, seconds: float) -> object:
        if self._instance is None:
            raise DesignFailure(self._failure or "provider.killed")
        return self._instance.call(name, value, fuel, seconds)

    def _bounded(self, text: object) -> str:
        if not isinstance(text, str) or len(text) > self._limits.design_bytes:
            raise DesignFailure("provider.output")
        return text

    def _failed(self, failure: Exception) -> str:
        """End the instance; from now on every call has this outcome."""
        self._failure = failure.code if isinstance(failure, DesignFailure) else "provider.output"
        if self._instance is not None:
            self._instance.close()
            self._instance = None
        return self._failure
