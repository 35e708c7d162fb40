"""A sealed model becomes a state that a sandbox computes with (side: enclave).

Holds: bundle and model keys, the opened bundle, the weights.  Reads: ciphertext leaves through the door.

Bundle and model are those that the placement means; in this order, each raises:
  (1) the model is the one that was asked for, and its manifest the one that placement and quote name;
  (2) the bundle is the one that the manifest was trained with, by id and root;
  (3) bundle and model open under their keys and have the roots that the manifest states;
  (4) the weights have the digest that the manifest states, and fit the bundle's layout;
  (5) the findings of int8 are there if, and only if, the manifest says that it was ordered;
  (6) a design is within the bounds of bundle and schedule, and takes no more of the state than there is; a graph that
      the code exports to stands all checks of common/exported_graph.py.
With a graph, native code is never imported here: trusted code computes the answers. Without one, or with one that does
not stand the checks, the provider's code answers. What a job designed is not known to anybody outside, nor whether it
designed anything: a model that can't be served for that reason is placed like all others, and each query to it gets a
sealed refusal.
"""

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.bundle import BundleContents, BundleManifest
from common.crypto.keys import SecretKey
from common.errors import AppraisalError, AuthenticityError, FormatError
from common.exported_graph import open_exported
from common.identifiers import ModelId
from common.job_design import open_design
from common.key_retrieval import Launch
from common.messages.objects import ModelManifest, ObjectRef
from common.messages.order import PrecisionName, Schedule
from common.messages.placement import Placement
from common.messages.signed import Signed
from common.model_file import decode_document, decode_int8, decode_model
from common.sandbox.protocol import QueryOutcome
from common.sandboxed.engine_report import Precision
from common.sandboxed.quantised_layout import Finding, Findings
from common.sealed_object import ObjectKind
from services.query_enclave.batch_size import questions_at_once


class Objects(Protocol):
    """The object store behind the door."""

    def load(self, reference: ObjectRef, key: SecretKey, kind: ObjectKind) -> bytes:
        """The payload of a sealed object, authenticated by key and root."""
        ...


@dataclass(frozen=True)
class OpenedModel:
    """Provider code, or a design or graph, and weights, ready for a sandbox.

    `served`: what the sandbox is started with; None where the job designed nothing that can be served. `state_P` has
    the float32 values of its layout, in its order. `precision`: the lowest that it is answered in; `ranges` of int8.
    """

    manifest: Signed
    contents: BundleContents
    state_P: NDArray[np.float32]
    served: BundleContents | None
    precision: Precision = Precision.FLOAT32
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def by_provider_code(self) -> bool:
        """Whether provider code answers; else trusted code computes a graph."""
        return self.served is not None and not (self.served.has_graph or self.served.has_design)

    @functools.cached_property
    def questions_at_once(self) -> int:
        """How many questions one evaluation may answer."""
        return questions_at_once(self.served)


class NoModel:
    """A `QuerySandbox` in which every query fails: nothing was designed that could answer."""

    def answer(self, input_NX: NDArray[np.generic], deadline_seconds: float) -> QueryOutcome:  # noqa: ARG002 - none asked
        """Always the same code."""
        return QueryOutcome(code="provider.output")

    def close(self) -> None:
        """Nothing to end."""


def open_model(launch: Launch, placement: Placement, asked: ModelId, objects: Objects) -> OpenedModel:
    """Open what this launch was placed for.

    Raises `AppraisalError` (1, 2), `AuthenticityError` (3, 4), `FormatError` (3, 4, 5) or what the door raises.
    """
    signed = launch.terms.model_manifest
    if signed is None or (placement.model_id, placement.manifest) != (asked, signed.digest):  # (1)
        raise AppraisalError("appraisal.placement", expected=asked, seen=placement.model_id)
    manifest = ModelManifest.decode(signed.payload)
    bundle = launch.terms.bundle.object
    if (manifest.model_id, manifest.bundle, manifest.bundle_root) != (
        asked,
        launch.terms.bundle_id,
        bundle.root,
    ):  # (2)
        raise AppraisalError("appraisal.placement", expected=launch.terms.bundle_id, seen=manifest.bundle)
    contents = BundleContents.parse(objects.load(bundle, launch.keys["bundle"], ObjectKind.BUNDLE))  # (3)
    payload = objects.load(manifest.object, launch.keys["model"], ObjectKind.MODEL)
    state_P, weights = decode_model(payload, contents.manifest)  # (4)
    if weights != manifest.weights:
        raise AuthenticityError("authenticity.sealed_object", expected=manifest.weights, seen=weights)
    document = decode_document(payload, contents.manifest)
    answers = _open_answers(manifest.answers_in, decode_int8(payload, contents.manifest))  # (5)
    if not contents.manifest.designs:
        return OpenedModel(signed, contents, *_open_native(document, contents, state_P), *answers)  # (6)
    served = _open_designed(document, contents.manifest, manifest.schedule)  # (6)
    return OpenedModel(signed, contents, state_P[: served.manifest.state_count if served else 0], served, *answers)


def _open_answers(ordered: PrecisionName, found: Findings | None) -> tuple[Precision, tuple[tuple[float, float], ...]]:
    """The lowest precision, and the ranges of an int8 that is kept; float32 where it is not."""
    if (found is not None) != (ordered == "int8"):
        raise FormatError("format.model", expected=f"a model that is answered in {ordered}")
    if found is None:
        return Precision[ordered.upper()], ()
    if found.finding is not Finding.JUDGED or found.ranges_V2 is None:
        return Precision.FLOAT32, ()
    return Precision.INT8, tuple((float(low), float(high)) for low, high in found.ranges_V2)


def _open_native(
    document: bytes, contents: BundleContents, state_P: NDArray[np.float32]
) -> tuple[NDArray[np.float32], BundleContents]:
    """The graph with its part of the state; the code with all of it where there is no valid graph."""
    try:
        graph = open_exported(document, contents.manifest) if document else None
    except FormatError:
        graph = None
    return (state_P, contents) if graph is None else (graph.state(state_P), graph.contents())


def _open_designed(document: bytes, bundle: BundleManifest, schedule: Schedule) -> BundleContents | None:
    try:
        return open_design(document, bundle, schedule) if document else None
    except FormatError:
        return None
