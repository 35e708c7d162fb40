"""What nobody sees of a model in a real installation: its weights (side: library).

The key of a sealed model is in two places, the key broker's sealed state and the query enclave. Whoever has the
directory of a simulated platform can do what a CPU does, so a test that made the installation derives the broker's
sealing key, reads the state that the host keeps for it, and opens the model. Its stack is down by then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.bundle import BundleManifest
from common.crypto.keys import SecretKey
from common.enclave.development import read_development_release
from common.enclave.simulated_platform import SimulatedPlatform
from common.identifiers import JobId
from common.messages.evidence import TrustLevel
from common.messages.objects import ModelManifest
from common.messages.reference_values import SgxReferenceValue
from common.messages.release import Release
from common.messages.signed import read_document
from common.model_file import decode_document, decode_model
from common.sealed_object import ObjectKind, ObjectReader
from common.untrusted.blobs import BlobStore
from deploy.embedded.state import StateDirectory
from services.attestation.app import STATE_FOLDER
from services.attestation.context import SEALING_LABEL
from services.attestation.records import JobRecord
from services.attestation.state import StateKeys, restore
from services.attestation.state_files import StateFiles
from tests.fakes.broker_world import MemoryStore


@dataclass(frozen=True)
class OpenedModel:
    """A model's whole payload but its salt."""

    state_P: NDArray[np.float32]
    document: bytes
    """Its design."""


def open_sealed_model(state: StateDirectory, job_id: JobId, bundle: BundleManifest) -> OpenedModel:
    """The model of a job of the embedded stack in `state`, which is down."""
    keys = StateKeys(_broker_key(state.root))
    restored = restore(MemoryStore(_blobs(StateFiles(state.root / "attestation" / STATE_FOLDER))), keys)
    assert restored is not None
    record = restored.records[job_id]
    assert isinstance(record, JobRecord)
    assert record.keys is not None
    assert record.manifest_document is not None
    key = keys.open_ring(record.key, record.keys)["model"]
    manifest, store = read_document(record.manifest_document, ModelManifest), BlobStore(state.root / "objects")
    root = manifest.object.root
    payload = ObjectReader(
        key,
        store.read_leaf(root, 0),
        manifest.object.chunk_count,
        lambda chunk: store.read_leaf(root, chunk + 1),
        kind=ObjectKind.MODEL,
        root=root,
    ).read_all()
    state_P, weights = decode_model(payload, bundle)
    assert weights == manifest.weights
    return OpenedModel(state_P, decode_document(payload, bundle))


def _broker_key(state: Path) -> SecretKey:
    signed = read_development_release(state)
    assert signed is not None
    reference = Release.decode(signed.payload).reference("broker", TrustLevel.SIMULATION)
    assert isinstance(reference, SgxReferenceValue)
    return SecretKey(SimulatedPlatform.open(state / "platform").sealing_key(reference.mr_enclave, SEALING_LABEL))


def _blobs(files: StateFiles) -> Iterator[bytes]:
    number = 0
    while blob := files.read(number):
        yield blob
        number += 1
