"""The evidence half of `./cloister bench attest`: right verdicts, changed evidence, and what our checks cost (side:
verifier).
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import dcap_qvl
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from bench.evidence_mutations import mutations
from bench.reference_vectors import Vector, all_vectors
from common.dcap import (
    NO_PLATFORM_RULES,
    QuoteClaims,
    SgxClaims,
    TdxClaims,
    appraise,
    require_report_data,
    verify_quote,
)
from common.dcap.engine import pck_chain_pem
from common.messages.evidence import Collateral
from common.messages.reference_values import ReferenceValue, SgxReferenceValue, TdxReferenceValue
from common.messages.tcb_terms import TcbTerms

MUTATIONS_PER_FIELD: Final = 16
_PAIRS: Final = 9
_TURN: Final = 120
"""Verifications in each half of a pair: about a fifth of a second."""


@dataclass(frozen=True)
class EvidenceFigures:
    """What came of it. `problems` names vectors judged wrong and mutations accepted."""

    vectors_right: int
    vectors_total: int
    mutations_total: int
    mutations_accepted: int
    verify_ratio: float
    verify_per_second: float
    problems: tuple[str, ...]


def measure_evidence(seed: int) -> EvidenceFigures:
    """Judge all vectors, change the good ones, and time full appraisals against the bare engine."""
    vectors = all_vectors()
    wrong = [f"{vector}: {problem}" for vector in vectors if (problem := vector.problem())]
    total, accepted = 0, list[str]()
    good = [vector for vector in vectors if vector.status is not None]
    for vector in good:
        for mutation in mutations(vector.evidence(), MUTATIONS_PER_FIELD, f"{seed}: {vector}"):
            total += 1
            if vector.accepts(mutation.evidence):
                accepted.append(f"{vector}: {mutation}")
    ratio, speed = _verify_ratio(good)
    return EvidenceFigures(
        len(vectors) - len(wrong), len(vectors), total, len(accepted), ratio, speed, (*wrong, *accepted)
    )


def _verify_ratio(vectors: list[Vector]) -> tuple[float, float]:
    """Median over pairs of (ours / engine) in verifications per CPU second, one thread; and ours per second."""
    pairs = [(_per_second(_appraisal(one)), _per_second(_engine(one))) for one in vectors[:_PAIRS]]
    return (
        round(statistics.median(ours / bare for ours, bare in pairs), 3),
        round(statistics.median(ours for ours, _ in pairs)),
    )


def _per_second(action: Callable[[], object]) -> float:
    action()
    begun = time.process_time()
    for _ in range(_TURN):
        action()
    return _TURN / (time.process_time() - begun)


def _appraisal(vector: Vector) -> Callable[[], object]:
    """Everything that an admission asks of a quote."""
    evidence, roots, at = vector.evidence(), vector.roots, vector.at
    claims = verify_quote(evidence, roots, at)
    reference, bound = _reference(claims), claims.report_data

    def full() -> None:
        seen = verify_quote(evidence, roots, at)
        require_report_data(seen, bound)
        appraise(seen, reference, NO_PLATFORM_RULES, at)

    return full


def _engine(vector: Vector) -> Callable[[], object]:
    evidence, at = vector.evidence(), vector.at
    chain = load_pem_x509_certificates(pck_chain_pem(evidence.quote))
    (root,) = (one.public_bytes(Encoding.DER) for one in chain if one.issuer == one.subject)
    pieces = dcap_qvl.QuoteCollateralV3(
        **{name: getattr(evidence.collateral, name) for name in Collateral.model_fields}
    )
    return lambda: dcap_qvl.verify_with_root_ca(evidence.quote, pieces, root, at)


def _reference(claims: QuoteClaims) -> ReferenceValue:
    """What these very claims meet."""
    tcb = TcbTerms(accepted_statuses=(claims.machine.tcb_status,))
    match claims:
        case SgxClaims():
            return SgxReferenceValue(
                mr_enclave=claims.mr_enclave, attribute_flags=claims.attribute_flags,
                misc_select=claims.misc_select, tcb=tcb,
            )  # fmt: skip
        case TdxClaims():
            return TdxReferenceValue(
                mr_td=claims.mr_td, rtmrs=claims.rtmrs, mr_config_id=claims.mr_config_id, mr_owner=claims.mr_owner,
                mr_owner_config=claims.mr_owner_config, td_attributes=claims.td_attributes, tcb=tcb,
            )  # fmt: skip
        case _:
            raise TypeError(claims.platform)
