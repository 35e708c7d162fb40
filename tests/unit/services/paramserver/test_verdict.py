"""services/paramserver/verdict: int8 is kept by the owner's bound, of the model that it was judged for."""

import numpy as np
import pytest

from common.exchange.payloads import encode_state
from common.exchange.quantised import Quantised
from common.messages.order import AnswerTerms
from common.sandboxed.quantised_layout import FINDINGS_BYTES, Finding, Findings
from services.paramserver.verdict import Verdict

DOCUMENT, STATE_P = b'{"a": "graph"}', np.arange(8, dtype=np.float32)
RANGES_V2 = np.array([[-1.0, 0.5], [0.0, 2.0]], np.float32)
JUDGED = Findings(Finding.JUDGED, 200, 90.0, 89.0, RANGES_V2)


def terms(most: float) -> AnswerTerms:
    return AnswerTerms(lowest="int8", most_drop_points=most, held_out_percent=10)


def said(findings: Findings = JUDGED, document: bytes = DOCUMENT, state: np.ndarray = STATE_P) -> bytes:
    return Quantised.of(document, encode_state(state), findings).encode()


def sealed(verdict: Verdict) -> bytes:
    assert verdict.sealed is not None
    return verdict.sealed.encode()


@pytest.mark.parametrize(("most", "kept"), [(1.0, True), (5.0, True), (0.99, False), (0.0, False)])
def test_it_is_kept_within_the_owners_bound(most: float, kept: bool) -> None:
    verdict = Verdict.of_payload(terms(most), said(), DOCUMENT, STATE_P)
    assert verdict.told is not None
    assert (verdict.told.kept, verdict.told.finding, verdict.told.rows) == (kept, "judged", 200)
    assert (verdict.told.float32_percent, verdict.told.int8_percent) == (90.0, 89.0)
    assert sealed(verdict) == (JUDGED if kept else Findings(Finding.NOTHING)).encode()


def test_int8_that_gains_is_kept_by_a_bound_of_nothing() -> None:
    gained = Findings(Finding.JUDGED, 200, 89.0, 89.5, RANGES_V2)
    verdict = Verdict.of_payload(terms(0.0), said(gained), DOCUMENT, STATE_P)
    assert verdict.told is not None
    assert verdict.told.kept


@pytest.mark.parametrize(
    ("payload", "document", "state", "finding"),
    [
        (said(document=b"another"), DOCUMENT, STATE_P, "late"),
        (said(state=STATE_P + 1), DOCUMENT, STATE_P, "late"),
        (None, DOCUMENT, STATE_P, "late"),
        (said(), DOCUMENT, None, "late"),
        (said(), None, STATE_P, "no_graph"),
        (said()[:-1], DOCUMENT, STATE_P, "failed"),
        (said(Findings(Finding.FEW_ROWS)), DOCUMENT, STATE_P, "few_rows"),
    ],
)
def test_what_was_found_of_something_else_or_not_at_all_is_not_kept(
    payload: bytes | None, document: bytes | None, state: np.ndarray | None, finding: str
) -> None:
    verdict = Verdict.of_payload(terms(100.0), payload, document, state)
    assert verdict.told is not None
    assert (verdict.told.kept, verdict.told.finding) == (False, finding)
    assert sealed(verdict) == Findings(Finding.NOTHING).encode()


def test_findings_have_one_size_and_are_read_as_they_were_written() -> None:
    for findings in (JUDGED, Findings(Finding.NO_GRAPH)):
        assert len(findings.encode()) == FINDINGS_BYTES
        assert Findings.parse(findings.encode()).encode() == findings.encode()
    read = Findings.parse(JUDGED.encode())
    assert (read.finding, read.rows) == (Finding.JUDGED, 200)
    assert read.ranges_V2 is not None
    np.testing.assert_array_equal(read.ranges_V2, RANGES_V2)


@pytest.mark.parametrize(
    "findings",
    [
        Findings(Finding.JUDGED, 1, np.nan, 0.0, RANGES_V2),
        Findings(Finding.JUDGED, 1, 100.5, 0.0, RANGES_V2),
        Findings(Finding.JUDGED, 1, 1.0, -1.0, RANGES_V2),
        Findings(Finding.JUDGED, 1, 1.0, 1.0, RANGES_V2 * np.nan),
        Findings(Finding.JUDGED, 1, 1.0, 1.0, RANGES_V2[:, ::-1]),
        Findings(99),  # type: ignore[arg-type]
    ],
)
def test_false_findings_are_refused(findings: Findings) -> None:
    with pytest.raises(ValueError, match=r"percent|ranges|not a valid"):
        Findings.parse(findings.encode())
    raw = bytearray(JUDGED.encode())
    raw[-1] = 1
    with pytest.raises(ValueError, match="zeros"):
        Findings.parse(raw)
