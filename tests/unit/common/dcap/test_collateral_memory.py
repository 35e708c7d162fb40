import json
from datetime import UTC, datetime, timedelta

import pytest

from bench.reference_vectors import Vector, vectors
from common.dcap.collateral_memory import CollateralMemory, marks_of
from common.dcap.collateral_name import name_of_collateral, name_of_quote
from common.enclave.simulated_pki import SimulatedPki, issue_crl
from common.errors import FormatError, FreshnessError
from common.messages.evidence import Collateral

PKI = SimulatedPki.generate(datetime.now(UTC))
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def changed(pieces: Collateral, document: str, **fields: object) -> Collateral:
    """Signatures do not matter to a memory: whoever uses it has checked them."""
    text = json.dumps(json.loads(getattr(pieces, document)) | fields)
    return pieces.model_copy(update={document: text})


def test_the_same_and_newer_pass_and_what_is_new_is_told() -> None:
    memory, first = CollateralMemory(), PKI.collateral(NOW)
    assert memory.remember(marks_of(first)) == marks_of(first)
    assert memory.remember(marks_of(first)) == ()
    later = PKI.collateral(NOW + DAY)
    assert memory.remember(marks_of(later)) == marks_of(later)
    assert set(memory.marks) == set(marks_of(later))


OLDER = {
    "TCB info, evaluation": lambda now: changed(now, "tcb_info", tcbEvaluationDataNumber=16),
    "QE identity, evaluation": lambda now: changed(now, "qe_identity", tcbEvaluationDataNumber=16),
    "TCB info, issue date": lambda now: changed(now, "tcb_info", issueDate="2020-01-01T00:00:00Z"),
    "QE identity, issue date": lambda now: changed(now, "qe_identity", issueDate="2020-01-01T00:00:00Z"),
    "PCK CRL": lambda now: now.model_copy(update={"pck_crl": issue_crl(PKI.pck_ca, NOW - DAY)}),
    "root CRL": lambda now: now.model_copy(update={"root_ca_crl": issue_crl(PKI.root, NOW - DAY)}),
}


@pytest.mark.parametrize("older", OLDER.values(), ids=OLDER.keys())
def test_each_document_on_its_own(older: object) -> None:
    good = PKI.collateral(NOW)
    memory = CollateralMemory(marks_of(good))
    with pytest.raises(FreshnessError, match=r"freshness\.collateral") as refused:
        memory.remember(marks_of(older(good)))  # type: ignore[operator]
    assert refused.value.expected is not None
    assert refused.value.seen is not None
    assert set(memory.marks) == set(marks_of(good))


def test_a_newer_date_does_not_make_up_for_an_older_evaluation() -> None:
    memory = CollateralMemory(marks_of(PKI.collateral(NOW)))
    with pytest.raises(FreshnessError):
        memory.require_not_older(marks_of(changed(PKI.collateral(NOW + DAY), "tcb_info", tcbEvaluationDataNumber=16)))


def test_platforms_and_roots_do_not_meet() -> None:
    memory = CollateralMemory(marks_of(PKI.collateral(NOW)))
    other_platform = changed(PKI.collateral(NOW), "tcb_info", fmspc="00906ED50000", tcbEvaluationDataNumber=1)
    memory.require_not_older(marks_of(other_platform))
    memory.require_not_older(marks_of(SimulatedPki.generate(NOW).collateral(NOW - DAY)))


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ("tcb_info", {"tcbEvaluationDataNumber": "17"}),
        ("tcb_info", {"tcbEvaluationDataNumber": -1}),
        ("tcb_info", {"issueDate": "yesterday"}),
        ("tcb_info", {"fmspc": 5}),
        ("qe_identity", {"tcbEvaluationDataNumber": None}),
    ],
)
def test_what_has_no_mark_is_refused(document: str, fields: dict[str, object]) -> None:
    with pytest.raises(FormatError, match=r"format\.collateral"):
        marks_of(changed(PKI.collateral(NOW), document, **fields))


AUTHENTIC = vectors("authentic")


@pytest.mark.parametrize("vector", AUTHENTIC, ids=str)
def test_authentic_quotes_name_the_collateral_that_they_come_with(vector: Vector) -> None:
    evidence = vector.evidence()
    assert name_of_quote(evidence.quote) == name_of_collateral(evidence.collateral)
    assert name_of_quote(evidence.quote).fmspc == vector.expected["fmspc"].lower()
    assert CollateralMemory().remember(marks_of(evidence.collateral))


def test_an_authentic_rollback_is_seen() -> None:
    """Two authentic sets for one kind of CPU, of which the older one is current at its time."""
    found = {str(vector): vector.evidence().collateral for vector in AUTHENTIC}
    if not found:
        pytest.skip("no reference vectors here")
    newer, older = found["sgx3-swhardening-platform"], found["sgx3-config-and-swhardening-older-tcb"]
    assert name_of_collateral(newer) == name_of_collateral(older)
    with pytest.raises(FreshnessError):
        CollateralMemory(marks_of(newer)).require_not_older(marks_of(older))
