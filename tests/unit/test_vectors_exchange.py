"""Payloads, questions, outcomes, statements and simulated evidence: each vector as it says."""

import json
from typing import Any

import numpy as np
import pytest

from common.broker_statements import complete_job_parts, draw_budget_parts, head_seen_parts, keep_checkpoint_parts
from common.bundle import TensorSpec
from common.crypto import labels
from common.crypto.digests import transcript
from common.dcap import verify_quote
from common.errors import Refusal
from common.exchange.payloads import DeltaEncoder, Figures, decode_delta, decode_state, encode_state
from common.exchange.quantised import QUANTISED_BYTES, Quantised
from common.exchange.steering import DESIGN_BYTES, Steering, pad_design, unpad_design
from common.identifiers import CodeMeasurement, Digest, GrantId, JobId, ModelId, PartyKey, SessionId
from common.leakage import AnswerSize
from common.messages.checkpoint import Checkpoint
from common.messages.collateral import CollateralMark
from common.messages.evidence import AllowedRoot, Collateral, SgxDcapEvidence
from common.messages.log_heads import LogHead
from common.messages.objects import ObjectRef
from common.messages.query import QueryProfile, pad_document, unpad_document
from common.messages.query_tensors import (
    decode_outcome,
    decode_question,
    encode_answer,
    encode_question,
    encode_told,
    receipt_wanted,
    rows_wanted,
    with_receipt,
)
from common.messages.receipt import Receipt
from common.query_sealing import session_signed_parts
from common.receipts import (
    answer_content,
    commitment,
    labels_told,
    opening_of,
    query_content,
    receipt_parts,
    rows_asked,
)
from tests.vectors.each_vector import each_vector
from tests.vectors.vector_file import OPENS, read_vectors

Vector = dict[str, Any]


def _payload_of(vector: Vector) -> tuple[list[float] | None, Figures | None]:
    raw, state_class = bytes.fromhex(vector["payload"]), vector["state_class"]
    if vector["kind"] == "STATE":
        return decode_state(raw, state_class).tolist(), None
    if vector["kind"] == "NOTE":
        return None, Figures.parse(raw)
    delta_P, figures = decode_delta(raw, state_class)
    return delta_P.tolist(), figures


@each_vector("frames/payloads.json")
def test_payloads(vector: Vector) -> None:
    if vector["outcome"] != OPENS:
        with pytest.raises(Refusal, match=vector["outcome"]):
            _payload_of(vector)
        return
    values, figures = _payload_of(vector)
    assert values == vector.get("values")
    if figures is not None:
        assert [figures.loss, figures.steps, figures.rows, figures.code, list(figures.refused.levels),
                figures.chunks] == [vector["loss"], vector["steps"], vector["rows"], vector["code"], vector["refused"],
                                    vector["chunks"]]  # fmt: skip
    if vector["kind"] == "DELTA" and figures is not None:
        given = np.array(vector["given"], np.float32)
        assert DeltaEncoder(vector["state_class"]).encode(given, figures).hex() == vector["payload"]
    if vector["kind"] == "STATE":
        assert encode_state(np.array(values, np.float32)).hex() == vector["payload"]


@each_vector("frames/designs.json")
def test_design_payloads(vector: Vector) -> None:
    payload = bytes.fromhex(vector["begin"]).ljust(DESIGN_BYTES, b"\0")
    if vector["outcome"] != OPENS:
        with pytest.raises(Refusal, match=vector["outcome"]):
            unpad_design(payload)
        return
    document = bytes.fromhex(vector["document"])
    assert unpad_design(payload) == document
    assert pad_design(document) == payload


@each_vector("frames/steering.json")
def test_steering_payloads(vector: Vector) -> None:
    payload = bytes.fromhex(vector["payload"])
    if vector["outcome"] != OPENS:
        with pytest.raises(Refusal, match=vector["outcome"]):
            Steering.parse(payload)
        return
    steering = Steering.parse(payload)
    assert (steering.design, list(steering.losses)) == (vector["design"], vector["losses"])
    assert steering.encode() == payload


@each_vector("frames/quantised.json")
def test_findings_of_int8(vector: Vector) -> None:
    payload = bytes.fromhex(vector["begin"]).ljust(QUANTISED_BYTES, b"\0")
    if vector["outcome"] != OPENS:
        with pytest.raises(Refusal, match=vector["outcome"]):
            Quantised.parse(payload)
        return
    read = Quantised.parse(payload)
    found = read.findings
    assert (read.document, read.state, found.finding.name) == (vector["document"], vector["state"], vector["finding"])
    assert [found.rows, [found.float32_percent, found.int8_percent]] == [vector["rows"], vector["percents"]]
    assert found.ranges_V2 is not None
    assert found.ranges_V2.ravel().tolist() == vector["ranges"]
    assert read.encode() == payload


def _profile(shown: Vector) -> QueryProfile:
    specs = {
        name: TensorSpec(shape=tuple(shown[name]["shape"]), dtype=shown[name]["dtype"]) for name in ("input", "answer")
    }
    return QueryProfile(max_rows=shown["max_rows"], input=specs["input"], answer=specs["answer"])


@each_vector("query/questions.json")
def test_questions(vector: Vector) -> None:
    profile, padded = _profile(vector["profile"]), bytes.fromhex(vector["question"])
    assert profile.question_bytes == len(padded)
    if vector["outcome"] == OPENS:
        rows = decode_question(padded, profile)
        assert rows.tolist() == vector["rows"]
        assert rows_wanted(padded) == vector["wanted"]
        asked = np.array(vector["rows"], profile.input.dtype)
        assert encode_question(asked, profile, vector["wanted"], receipt=receipt_wanted(padded)) == padded
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            decode_question(padded, profile)


@each_vector("query/outcomes.json")
def test_outcomes(vector: Vector) -> None:
    profile, padded = _profile(vector["profile"]), bytes.fromhex(vector["padded"])
    assert profile.outcome_bytes == len(padded)
    if vector["outcome"] != OPENS:
        with pytest.raises(Refusal, match=vector["outcome"]) as caught:
            decode_outcome(padded, profile)
        assert caught.value.expected == vector.get("expected", caught.value.expected)
        return
    answer = decode_outcome(padded, profile)
    assert (answer.labels.tolist(), answer.answers_left) == (vector["labels"], vector["left"])
    if vector["scores"] is not None:
        assert answer.scores is not None
        assert answer.scores.tolist() == vector["scores"]
        again = encode_told(answer.labels, answer.scores, answer.answers_left, profile)
        if padded[0] != 3:
            again = encode_answer(answer.scores, answer.answers_left, "scores", profile)
        assert (again if answer.receipt is None else with_receipt(again, answer.receipt)) == padded


@each_vector("query/receipts.json")
def test_receipts(vector: Vector) -> None:
    opening = opening_of(vector["opens"], bytes.fromhex(vector["salt"]), bytes.fromhex(vector["content"]))
    assert opening.salt.hex() == vector["own_salt"]
    assert commitment(vector["opens"], opening) == vector["commitment"]
    profile = _profile(vector["profile"])
    if vector["opens"] == "query":
        assert query_content(bytes.fromhex(vector["padded"]), profile) == opening.content
        assert rows_asked(opening.content).tolist() == vector["rows"]
    else:
        assert answer_content(bytes.fromhex(vector["padded"]), profile) == opening.content
        assert labels_told(opening.content).tolist() == vector["labels"]


@each_vector("query/padded_documents.json")
def test_padded_documents(vector: Vector) -> None:
    padded = bytes.fromhex(vector["padded"])
    if vector["outcome"] == OPENS:
        assert unpad_document(padded).hex() == vector["document"]
        assert pad_document(bytes.fromhex(vector["document"]), len(padded)) == padded
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            unpad_document(padded)


def test_statements() -> None:
    shown = {one["name"]: one for one in read_vectors("attestation/statements.json")}
    parts = {name: [bytes.fromhex(part) for part in one["parts"]] for name, one in shown.items()}

    def digest(name: str, at: int) -> Digest:
        return Digest.of(parts[name][at])

    job, model = JobId("job_" + "a" * 32), ModelId("model_" + "a" * 32)
    head, seen = "log-head-seen", parts["log-head-seen"]
    session, opening = SessionId("session_" + "a" * 32), parts["session-open"]
    log_head = LogHead(size=7, root=digest(head, 3), epoch=2)
    mark, wrapped_digest = CollateralMark(subject="root-crl", evaluation=0, issued=7), opening[4]
    stored = ObjectRef(root=digest("keep-checkpoint", 4), chunk_count=3)
    checkpoint = Checkpoint(attempt=1, tick=7, object=stored)
    made = {
        "keep-checkpoint": (labels.LAUNCH_STATEMENT, keep_checkpoint_parts(job, checkpoint)),
        "complete-job": (labels.LAUNCH_STATEMENT, complete_job_parts(job, "finished", digest("complete-job", 3))),
        "complete-job without a model": (labels.LAUNCH_STATEMENT, complete_job_parts(job, "failed", None)),
        "draw-budget": (
            labels.LAUNCH_STATEMENT,
            draw_budget_parts(model, digest("draw-budget", 2), 7, AnswerSize(10, 40), parts["draw-budget"][6])),
        head: (labels.LOG_HEAD_SEEN, head_seen_parts(digest(head, 0), seen[1], log_head)),
        "log-head-seen with collateral": (
            labels.LOG_HEAD_SEEN, head_seen_parts(digest(head, 0), seen[1], log_head, (mark,))),
        "session-open": (
            labels.SESSION_OPEN,
            (*session_signed_parts(opening[0], digest("session-open", 1), session, digest("session-open", 3), b"")[:4],
             wrapped_digest)),
        "receipt": (labels.RECEIPT, receipt_parts(_receipt(parts["receipt"]))),
    }  # fmt: skip
    for name, (label, own) in made.items():
        assert transcript(label, *own).hex() == shown[name]["signed"], name


def _receipt(parts: list[bytes]) -> Receipt:
    """Of what is signed of it."""
    query, answer, user, grant, left, model, manifest, placement, measurement, launch, at = parts
    return Receipt(
        query=Digest(query.hex()), answer=Digest(answer.hex()), user=PartyKey(user.hex()),
        grant=GrantId(grant.decode()), answers_left=int.from_bytes(left, "big"), model_id=ModelId(model.decode()),
        manifest=Digest(manifest.hex()), placement=Digest(placement.hex()),
        measurement=CodeMeasurement(measurement.decode()), launch=PartyKey(launch.hex()),
        time=int.from_bytes(at, "big"), signature=bytes(64),
    )  # fmt: skip


@each_vector("quote/simulated.json")
def test_simulated_evidence(vector: Vector) -> None:
    collateral = Collateral.decode(json.dumps(read_vectors("quote/simulated.json")[0]["collateral"]).encode())
    evidence = SgxDcapEvidence(quote=bytes.fromhex(vector["quote"]), collateral=collateral)
    roots = [AllowedRoot(platform="sgx", root_key_sha256=Digest(vector["root_key_sha256"]))]
    if vector["outcome"] == OPENS:
        claims = verify_quote(evidence, roots, vector["verify_at"])
        assert (claims.measurement, claims.report_data.hex()) == (vector["mr_enclave"], vector["report_data"])
        assert (claims.trust_level, claims.machine.tcb_status) == (vector["trust_level"], vector["tcb_status"])
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            verify_quote(evidence, roots, vector["verify_at"])
