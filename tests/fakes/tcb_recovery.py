"""Intel's new TCB, as a simulated platform's own Intel publishes it: the platform is not patched (side: library)."""

from datetime import UTC, datetime
from typing import Any

from common.enclave.simulated_pki import (
    CLOCK_MARGIN,
    SimulatedPki,
    encode_document,
    qe_identity_fields,
    sign_raw,
    tcb_info_fields,
)
from common.messages.evidence import Collateral
from tests.fakes.broker_world import BrokerWorld


def newer_collateral(pki: SimulatedPki, at: datetime) -> Collateral:
    """Collateral of the next TCB evaluation: a level above the platform's is UpToDate, the platform's is OutOfDate."""
    issued = at - CLOCK_MARGIN
    tcb_info: dict[str, Any] = tcb_info_fields(issued)
    qe_identity: dict[str, Any] = qe_identity_fields(issued)
    [level] = tcb_info["tcbLevels"]
    first, *others = level["tcb"]["sgxtcbcomponents"]
    patched = level["tcb"] | {"sgxtcbcomponents": [{"svn": first["svn"] + 1}, *others]}
    tcb_info["tcbLevels"] = [level | {"tcb": patched}, level | {"tcbStatus": "OutOfDate"}]
    for document in (tcb_info, qe_identity):
        document["tcbEvaluationDataNumber"] += 1
    documents = {"tcb_info": encode_document(tcb_info), "qe_identity": encode_document(qe_identity)}
    signatures = {f"{name}_signature": sign_raw(pki.tcb_signing.key, text.encode()) for name, text in documents.items()}
    return Collateral.model_validate(dict(pki.collateral(at)) | documents | signatures)


def publish_newer_tcb(world: BrokerWorld, collateral: Collateral | None = None) -> None:
    """From now on the world's platform brings `newer_collateral` with its quotes, or that which is given."""
    platform = world.platform
    brings = collateral or newer_collateral(platform.pki, datetime.fromtimestamp(world.time, UTC))
    (platform.directory / "collateral.json").write_bytes(brings.encode())
