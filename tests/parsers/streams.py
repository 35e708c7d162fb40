"""Parsers of what crosses doors, queues, sandbox walls and disks, and of proofs (side: library)."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Final

from common.bundle import TensorSpec
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.merkle import node_hash
from common.crypto.merkle_proofs import verify_consistency, verify_inclusion
from common.door import Door
from common.errors import AuthenticityError, FormatError, FreshnessError, Refusal, UnavailableError
from common.exchange.frames import (
    Endpoint,
    FrameBody,
    FrameHeader,
    FrameKind,
    FrameLink,
    FrameOpener,
    FrameSealer,
    parse_body,
)
from common.exchange.payloads import Figures, decode_delta, decode_state, encode_state
from common.exchange.quantised import QUANTISED_BYTES, Quantised
from common.exchange.steering import DESIGN_BYTES, Steering, pad_design, unpad_design
from common.identifiers import Digest, JobId, PartyKey, SessionId
from common.messages.order import Schedule
from common.messages.query import ANSWER_MAGIC, QUERY_MAGIC, Header, QueryProfile, pad_document, unpad_document
from common.messages.query_batch import decode_answers, encode_answers
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
from common.messages.training_door import encode_job_frame, parse_job_frame
from common.query_sealing import SessionCipher
from common.receipts import labels_told, rows_asked
from common.sandbox.windows import parse_output
from common.sandboxed.wire import HEADER
from common.transparency import tags_of
from services.attestation.record_file import BLOB, ENTRY, RecordFile
from services.attestation.state_door import encode_append, encode_begin, parse_append, parse_begin
from tests.parsers.parser import Parser, from_hex
from tests.vectors.vector_file import read_vectors

_KEY: Final = SecretKey(bytes(range(32)))
_SCHEDULE: Final = Schedule(
    rounds=2, steps_per_round=3, batch_rows=8, tick_milliseconds=50, ticks_per_round=4, frames_per_tick=2,
    frame_bytes=4096, reads_per_tick=1, state_class=4096,
)  # fmt: skip
_LINK: Final = FrameLink.uplink(
    _SCHEDULE, Digest("11" * 32), Endpoint(1, 2, PartyKey("22" * 32)), Endpoint(0, 1, PartyKey("33" * 32))
)
_FRAME: Final = FrameSealer(_LINK, _KEY).seal(3, 1, FrameBody(FrameKind.DELTA, 4, 3, 0, 1, b"payload"))
_PROFILE: Final = QueryProfile(
    input=TensorSpec(shape=(2,), dtype="int16"), answer=TensorSpec(shape=(3,), dtype="float32"), max_rows=4
)
_QUERY: Final = read_vectors("query/queries.json")[0]
_STATE_CLASS: Final = 4
_LEAVES: Final = [sha256(bytes([number])).raw() for number in range(2)]


def _door(raw: bytes) -> None:
    """An end of a door that reads this ends; what it answered are frames."""
    written = io.BytesIO()
    Door(io.BytesIO(raw), written, {"echo": lambda body: body}, workers=1, on_log=lambda _: None).serve()


def _append(raw: bytes) -> bytes:
    return encode_append(parse_append(raw))


def _begin(raw: bytes) -> bytes:
    return encode_begin(*parse_begin(raw))


def _batch(raw: bytes) -> bytes:
    return encode_answers(decode_answers(raw, 2))


def _job_frame(raw: bytes) -> bytes:
    return encode_job_frame(*parse_job_frame(raw))


def _frame(raw: bytes) -> None:
    FrameOpener(_LINK, _KEY).open(raw)


def _frame_header(raw: bytes) -> bytes:
    return FrameHeader.parse(raw).encode() + raw[19:]


def _frame_body(raw: bytes) -> None:
    parse_body(raw)


def _state(raw: bytes) -> bytes:
    return bytes(encode_state(decode_state(raw, _STATE_CLASS)))


def _delta(raw: bytes) -> None:
    decode_delta(raw, _STATE_CLASS)


def _design(raw: bytes) -> bytes:
    return pad_design(unpad_design(raw.ljust(DESIGN_BYTES, b"\0"))).rstrip(b"\0")


def _quantised(raw: bytes) -> bytes:
    return Quantised.parse(raw.ljust(QUANTISED_BYTES, b"\0")).encode().rstrip(b"\0")


def _steering(raw: bytes) -> bytes:
    return Steering.parse(raw).encode()


def _figures(raw: bytes) -> bytes:
    return Figures.parse(raw).encode()


def _question(raw: bytes) -> bytes:
    return encode_question(decode_question(raw, _PROFILE), _PROFILE, rows_wanted(raw), receipt=receipt_wanted(raw))


def _outcome(raw: bytes) -> bytes | None:
    answer = decode_outcome(raw, _PROFILE)
    if answer.scores is None:
        return None
    outcome = encode_told(answer.labels, answer.scores, answer.answers_left, _PROFILE)
    if raw[0] != 3:
        outcome = encode_answer(answer.scores, answer.answers_left, "scores", _PROFILE)
    return outcome if answer.receipt is None else with_receipt(outcome, answer.receipt)


def _receipt_contents(raw: bytes) -> None:
    """Of a query, or of an answer."""
    with contextlib.suppress(FormatError):
        rows_asked(raw)
    labels_told(raw)


def _padded(raw: bytes) -> bytes:
    return pad_document(unpad_document(raw), len(raw))


def _session_header(raw: bytes) -> bytes:
    return Header.parse(raw, QUERY_MAGIC).encode(QUERY_MAGIC) + raw[32:]


def _query(raw: bytes) -> None:
    key, session = SecretKey(bytes.fromhex(_QUERY["session_key"])), SessionId(_QUERY["session_id"])
    cipher = SessionCipher(key, session, Digest(_QUERY["manifest"]))
    if raw.startswith(ANSWER_MAGIC):
        cipher.open_answer(bytes.fromhex(_QUERY["query"]), raw)
    else:
        cipher.open_query(raw)


def _sandbox_output(raw: bytes) -> None:
    """Its size is the enclave's choice; its content is the child's."""
    parse_output(raw[: HEADER.size].ljust(HEADER.size, b"\0"), 7)


def _record_file(raw: bytes) -> bytes:
    """What is kept of a file is a file that reads the same."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "chain-1.log")
        path.write_bytes(raw)
        file = RecordFile.open(path, BLOB)
        for kind in (BLOB, ENTRY):
            for number in range(file.count(kind)):
                file.read(kind, number)
        return path.read_bytes()


def _log_leaf(raw: bytes) -> None:
    tags_of(raw, 3)


def _proof(raw: bytes) -> None:
    """Two numbers and a path: of a tree of two leaves there is one proof for the first, and one that it grew to two."""
    number, size = int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:16], "big")
    path = [raw[at : at + 32] for at in range(16, len(raw), 32)]
    first, second = _LEAVES
    root = Digest.of(node_hash(first, second))
    with contextlib.suppress(AuthenticityError):
        verify_consistency(number, Digest.of(first), size, root, path)
        if (number, size, path) != (1, 2, [second]):
            raise AssertionError("a proof of what is not so")
    verify_inclusion(first, number, size, root, path)
    if (number, size, path) != (0, 2, [second]):
        raise AssertionError("a proof of what is not so")


def _record_seed() -> bytes:
    records = ((ENTRY, b"entry"), (BLOB, b"sealed"), (BLOB, b"more"))
    return b"CLBS\x02" + bytes(8) + b"".join(bytes([k]) + len(d).to_bytes(4, "big") + d for k, d in records)


def _proof_seed(number: int) -> bytes:
    return number.to_bytes(8, "big") + (2).to_bytes(8, "big") + _LEAVES[1]


def _values(path: str, field: str, **only: str) -> tuple[bytes, ...]:
    chosen = (one for one in read_vectors(path) if all(one.get(name) == value for name, value in only.items()))
    return from_hex(*(one[field] for one in chosen))


_JOB: Final = JobId("job_" + "a" * 32)

PARSERS: Final = (
    Parser("door", _door, _values("door/frames.json", "stream"), ()),
    Parser(
        "state-append", _append, (encode_append([(b"entry", b"blob")]), encode_append([(b"a", b"b"), (b"c", b"d")]))
    ),
    Parser("state-begin", _begin, (encode_begin(3, [b"one", b"two"]), encode_begin(0, []))),
    Parser("job-frame", _job_frame, (encode_job_frame(_JOB, b"frame"),)),
    Parser("frame", _frame, (_FRAME,), (FormatError, AuthenticityError, FreshnessError)),
    Parser("frame-header", _frame_header, (_FRAME,)),
    Parser("frame-body", _frame_body, (bytes(17), b"\x02" + bytes(15) + b"\x01payload")),
    Parser("state", _state, _values("frames/payloads.json", "payload", kind="STATE")),
    Parser("delta", _delta, _values("frames/payloads.json", "payload", kind="DELTA")),
    Parser("design-payload", _design, _values("frames/designs.json", "begin"), canonical=False),
    Parser("findings-of-int8", _quantised, _values("frames/quantised.json", "begin"), canonical=False),
    Parser("steering", _steering, _values("frames/steering.json", "payload"), canonical=False),
    Parser("figures", _figures, _values("frames/payloads.json", "payload", kind="NOTE"), canonical=False),
    Parser("question", _question, _values("query/questions.json", "question")),
    Parser("batch-answers", _batch, (encode_answers([b"one", UnavailableError("unavailable.full")]),), canonical=False),
    Parser("outcome", _outcome, _values("query/outcomes.json", "padded"), (Refusal,)),
    Parser("receipt-contents", _receipt_contents, _values("query/receipts.json", "content")),
    Parser("padded-document", _padded, _values("query/padded_documents.json", "padded")),
    Parser("session-header", _session_header, from_hex(_QUERY["query"])),
    Parser("query-and-answer", _query, from_hex(_QUERY["query"], _QUERY["answer"]), (AuthenticityError,)),
    Parser("sandbox-output", _sandbox_output, (HEADER.pack(7, 1, 3, 0.5, 0.25),)),
    Parser("record-file", _record_file, (_record_seed(),), (UnavailableError,), canonical=False),
    Parser("log-leaf", _log_leaf, _values("attestation/log.json", "leaf"), (AuthenticityError,)),
    Parser(
        "merkle-proof", _proof, ((0).to_bytes(8, "big") + (2).to_bytes(8, "big") + _LEAVES[1],), (AuthenticityError,)
    ),
)
