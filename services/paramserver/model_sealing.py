"""The end of a job: the model sealed under the key born in the broker, and its manifest (side: enclave).

Holds: the model key, the final state, the launch's signing key.  Sends: ciphertext leaves, a signed manifest.

The bundle is opened for its layout alone; nothing of it is run here.
"""

from dataclasses import dataclass

from common.bundle import BundleManifest
from common.crypto.signing import SigningKey
from common.errors import FormatError
from common.exchange.payloads import StateP
from common.exported_graph import open_exported
from common.identifiers import Digest, ModelId
from common.messages.base import Seconds
from common.messages.launch_terms import LaunchTerms
from common.messages.objects import ModelManifest, ObjectRef, SlotRecord
from common.messages.order import ToolchainName, TrainingOrder
from common.messages.signed import Signed, sign
from common.model_file import encode_model
from common.sandboxed.quantised_layout import Findings


@dataclass(frozen=True)
class FinishedJob:
    """What the manifest says of a job. `created` is the host's time: for listings."""

    terms: LaunchTerms
    order: TrainingOrder
    members: tuple[SlotRecord, ...]
    created: Seconds
    toolchain: ToolchainName


def agreed_graph(graphs: set[bytes], bundle: BundleManifest) -> bytes | None:
    """The graph that the members' bundle exports to, as our encoder writes it; None where there is none.

    `graphs`: what their export sandboxes wrote, which nobody has read. One code exports to one document, so different
    ones are a lie: one at most is read, however many members there are.
    """
    if len(graphs) != 1:
        return None
    (document,) = graphs
    try:
        return open_exported(document, bundle).document
    except FormatError:
        return None


def encode_final_state(
    state_P: StateP, bundle: BundleManifest, document: bytes | None, int8: Findings | None = None
) -> tuple[bytes, Digest]:
    """The model file, with the job's design or graph, what is kept of int8, and its `weights` digest.

    Raises `FormatError` when the layout does not fit the state class.
    """
    if bundle.state_count > state_P.size:
        raise FormatError("format.model", expected=f"at most {state_P.size} values", seen=bundle.state_count)
    return encode_model(state_P[: bundle.state_count], bundle, document or b"", int8)


def sign_manifest(job: FinishedJob, sealed: ObjectRef, weights: Digest, key: SigningKey) -> Signed:
    """The model's manifest, signed by this launch."""
    terms = job.terms
    return sign(
        ModelManifest(
            model_id=ModelId.of(terms.order.digest),
            job_id=terms.job_id,
            order=terms.order.digest,
            datasets=tuple(data.dataset_id for data in terms.datasets),
            data_roots=tuple(part.root for data in terms.datasets for part in data.manifest.parts),
            bundle=terms.bundle_id,
            bundle_root=terms.bundle.object.root,
            object=sealed,
            weights=weights,
            schedule=job.order.schedule,
            trust_level=terms.trust_level,
            members=job.members,
            created=job.created,
            toolchain=job.toolchain,
            answers_in=job.order.answers.lowest,
        ),
        key,
    )
