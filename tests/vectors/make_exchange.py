"""Vectors of frame payloads, of questions and outcomes, and of statements that are signed (side: library)."""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any, Final

from tests.vectors.independent import PREFIX, transcript
from tests.vectors.make_crypto import KEY, SALT
from tests.vectors.vector_file import VectorFile

FRAME, QUERY, MESSAGE = "format.frame", "format.query", "format.message"
STATE_CLASS: Final = 4
PROFILE: Final = {
    "input": {"shape": [2], "dtype": "int16"},
    "answer": {"shape": [3], "dtype": "float32"},
    "max_rows": 2,
}
_SIZE: Final = 1024
"""Size class of both a question and an outcome of this profile."""


def exchange_files() -> Iterator[VectorFile]:
    """All files that come out the same each time."""
    yield _payloads()
    yield _designs()
    yield _steering()
    yield _quantised()
    yield _questions()
    yield _outcomes()
    yield _receipts()
    yield _padded_documents()
    yield _statements()


def bf16(value: float) -> bytes:
    """The nearest bfloat16, ties to even, little-endian."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


def figures(loss: float, steps: int, rows: int, code: int, refused: int = 0, chunks: int = 0) -> bytes:
    """24 bytes."""
    return struct.pack("<fIQHHI", loss, steps, rows, code, refused, chunks)


def _payloads() -> VectorFile:
    file = VectorFile("frames/payloads.json", "frame payloads", 15)
    state, delta = (1.0, -0.5, 0.0, 3.0e38), (0.1, -1.00390625, 2.0**-20, 0.0)
    state_raw = struct.pack("<4f", *state)
    delta_raw = b"".join(map(bf16, delta)) + figures(0.25, 8, 128, 0, chunks=7)
    rounded = [struct.unpack("<f", b"\0\0" + bf16(value))[0] for value in delta]
    common: dict[str, Any] = {"state_class": STATE_CLASS}
    file.add("state", kind="STATE", payload=state_raw, values=struct.unpack("<4f", state_raw), **common)
    file.add("delta", kind="DELTA", payload=delta_raw, given=delta, values=rounded, loss=0.25, steps=8, rows=128,
             code=None, refused=[0] * 7, chunks=7, **common)  # fmt: skip
    some_network_many_memory = 1 * 3**0 + 2 * 3**5
    file.add("note without a loss", kind="NOTE", payload=figures(float("nan"), 0, 0, 2, some_network_many_memory),
             loss=None, steps=0, rows=0, code="provider.raised", refused=[1, 0, 0, 0, 0, 2, 0], chunks=0,
             **common)  # fmt: skip
    file.add("all refused", kind="NOTE", payload=figures(float("nan"), 0, 0, 4, 3**7 - 1), loss=None, steps=0, rows=0,
             code="provider.killed", refused=[2] * 7, chunks=0, **common)  # fmt: skip

    def refused(name: str, kind: str, payload: bytes) -> None:
        file.add(name, FRAME, kind=kind, payload=payload, **common)

    refused("short state", "STATE", state_raw[:-1])
    refused("long state", "STATE", state_raw + b"\0")
    refused("state not finite", "STATE", state_raw[:-4] + struct.pack("<f", float("inf")))
    refused("short delta", "DELTA", delta_raw[:-1])
    refused("long delta", "DELTA", delta_raw + b"\0")
    refused("delta not finite", "DELTA", struct.pack("<H", 0x7F80) + delta_raw[2:])
    refused("unknown code", "NOTE", figures(0.0, 0, 0, 999))
    refused("no levels of refused calls", "NOTE", figures(0.0, 0, 0, 0, 3**7))
    refused("long note", "NOTE", figures(0.0, 0, 0, 0) + b"\0")
    return file


def padded_design(document: bytes) -> bytes:
    """A DESIGN payload."""
    return (struct.pack("<I", len(document)) + document).ljust(1 << 17, b"\0")


def _designs() -> VectorFile:
    """Payloads are 2^17 bytes, so a vector holds those before the zeros."""
    file = VectorFile("frames/designs.json", "design payloads, without the zeros that fill 2^17 bytes", 15)
    for name, document in (("a document", b'{"type":"design"}'), ("no document", b"")):
        file.add(name, begin=padded_design(document).rstrip(b"\0"), document=document)
    file.add("bytes behind the document", FRAME, begin=struct.pack("<I", 2) + b"{}x")
    file.add("a length beyond the payload", FRAME, begin=struct.pack("<I", (1 << 17) - 3) + b"{}")
    return file


def steering(design: bytes, count: int, losses: tuple[float, ...]) -> bytes:
    """A STEERING payload."""
    return design + struct.pack("<I", count) + b"".join(struct.pack("<f", one) for one in losses).ljust(1024, b"\0")


def findings(finding: int, rows: int, percents: tuple[float, float], ranges: tuple[float, ...] = ()) -> bytes:
    """What was found of int8, without the zeros that fill it."""
    head = struct.pack("<IIffI", finding, rows, *percents, len(ranges) // 2)
    return head + b"".join(struct.pack("<f", one) for one in ranges)


def _quantised() -> VectorFile:
    """Payloads are 32,852 bytes, so a vector holds those before the zeros."""
    file = VectorFile("frames/quantised.json", "findings of int8, without the zeros that fill 32,852 bytes", 15)
    document, state = (hashlib.sha256(one).digest() for one in (b'{"type":"model-graph"}', b"a state"))
    head, ranges = document + state, (-1.0, 0.9921875, 0.0, 2.5)
    common: dict[str, Any] = {"document": document, "state": state}
    file.add("judged", begin=head + findings(1, 200, (90.5, 90.0), ranges), finding="JUDGED", rows=200,
             percents=[90.5, 90.0], ranges=list(ranges), **common)  # fmt: skip
    file.add("no graph", begin=head + findings(2, 0, (0.0, 0.0)), finding="NO_GRAPH", rows=0, percents=[0.0, 0.0],
             ranges=[], **common)  # fmt: skip
    file.add("an unknown finding", FRAME, begin=head + findings(11, 0, (0.0, 0.0)))
    file.add("more than all are right", FRAME, begin=head + findings(1, 200, (100.5, 90.0), ranges))
    file.add("no number", FRAME, begin=head + findings(1, 200, (float("nan"), 90.0), ranges))
    file.add("a range above zero", FRAME, begin=head + findings(1, 200, (90.5, 90.0), (0.5, 1.0)))
    file.add("an endless range", FRAME, begin=head + findings(1, 200, (90.5, 90.0), (0.0, float("inf"))))
    file.add("bytes behind the ranges", FRAME, begin=head + findings(1, 200, (90.5, 90.0), ranges) + b"x")
    return file


def _steering() -> VectorFile:
    file = VectorFile("frames/steering.json", "steering payloads", 15)
    nan, design = float("nan"), hashlib.sha256(b'{"type":"design"}').digest()
    file.add("before the first epoch", payload=steering(design, 0, ()), design=design, losses=[])
    file.add("three epochs", payload=steering(design, 3, (0.5, nan, 0.25)), design=design, losses=[0.5, None, 0.25])
    good = steering(design, 1, (0.5,))
    file.add("short", FRAME, payload=good[:-1])
    file.add("long", FRAME, payload=good + b"\0")
    file.add("too many epochs", FRAME, payload=steering(design, 257, ()))
    file.add("a loss behind the last", FRAME, payload=steering(design, 1, (0.5, 0.25)))
    return file


def question(
    rows: list[list[int]], *, dtype: int = 4, sides: tuple[int, ...] = (2,), zeros: bytes = b"\0\0", wanted: int = 7
) -> bytes:
    """A padded question of int16 rows."""
    head = bytes([dtype, len(sides)]) + zeros + struct.pack(">I", len(rows))
    head += b"".join(struct.pack(">I", side) for side in sides).ljust(32, b"\0") + struct.pack(">I", wanted)
    return (head + b"".join(struct.pack("<h", value) for row in rows for value in row)).ljust(_SIZE, b"\0")


def _questions() -> VectorFile:
    file = VectorFile("query/questions.json", "questions", 16)
    rows = [[1, -2], [300, 4]]
    good = question(rows)
    file.add("two rows", profile=PROFILE, question=good, rows=rows, wanted=7)
    file.add("one row", profile=PROFILE, question=question(rows[:1], wanted=1), rows=rows[:1], wanted=1)
    receipt = question(rows, zeros=b"\1\0")
    file.add("a receipt is wanted", profile=PROFILE, question=receipt, rows=rows, wanted=7)
    refused = {
        "no rows": question([]),
        "too many rows": question([[0, 0]] * 3),
        "another shape": question(rows, sides=(1, 2)),
        "another type": question(rows, dtype=7),
        "unknown type": question(rows, dtype=9),
        "fewer wanted than asked": question(rows, wanted=1),
        "reserved bytes": question(rows, zeros=b"\0\1"),
        "an unknown flag": question(rows, zeros=b"\2\0"),
        "a side too many": good[:12] + b"\0\0\0\1" + good[16:],
        "padding of others": good[:-1] + b"\1",
    }
    for name, padded in refused.items():
        file.add(name, QUERY, profile=PROFILE, question=padded)
    return file


def _outcomes() -> VectorFile:
    file = VectorFile("query/outcomes.json", "outcomes", 16)

    def outcome(kind: int, rows: int, body: bytes, left: int = 7, zeros: bytes = b"\0\0\0") -> bytes:
        return (bytes([kind]) + zeros + struct.pack(">IQ", rows, left) + body).ljust(_SIZE, b"\0")

    scores = ((0.5, 2.0, -1.0), (3.0, 1.0, 2.0))
    raw = b"".join(struct.pack("<3f", *row) for row in scores)
    labels, part = struct.pack("<2I", 1, 0), struct.pack("<6f", 0, 2, 0, 3, 0, 0)
    texts = (b"policy.budget", b"answers left", b"")
    refusal = b"".join(struct.pack(">H", len(text)) + text for text in texts)
    shown: dict[str, Any] = {"profile": PROFILE, "labels": (1, 0), "left": 7}
    for name, padded, more in (
        ("scores", outcome(2, 2, raw), {"scores": scores}),
        ("labels", outcome(1, 2, labels), {"scores": None}),
        (
            "labels and a part of the scores",
            outcome(3, 2, labels + part),
            {"scores": ((0.0, 2.0, 0.0), (3.0, 0.0, 0.0))},
        ),
        ("scores and a receipt", outcome(2, 2, raw)[:-104] + bytes(range(104)), {"scores": scores}),
    ):
        file.add(name, padded=padded, **shown, **more)
    file.add("a refusal", "policy.budget", profile=PROFILE, padded=outcome(0, 0, refusal), expected="answers left")
    refused = {
        "no rows": outcome(2, 0, b""),
        "too many rows": outcome(1, 3, struct.pack("<3I", 0, 1, 2)),
        "unknown kind": outcome(4, 2, raw),
        "reserved bytes": outcome(2, 2, raw, zeros=b"\0\0\1"),
        "padding of others": outcome(2, 2, raw)[:-105] + b"\1" + bytes(104),
    }
    for name, padded in refused.items():
        file.add(name, MESSAGE, profile=PROFILE, padded=padded)
    return file


def _receipts() -> VectorFile:
    file = VectorFile("query/receipts.json", "receipts: commitments and their openings", 16)
    rows, labels = [[1, -2], [300, 4]], struct.pack("<2I", 1, 0)
    asked = question(rows, zeros=b"\1\0")
    scores = struct.pack("<6f", 0.5, 2.0, -1.0, 3.0, 1.0, 2.0)
    spec = bytes([7, 1, 0, 0]) + struct.pack(">I", 3).ljust(32, b"\0")
    outcomes = {
        kind: bytes([kind, 0, 0, 0]) + struct.pack(">IQ", 2, 7) + body for kind, body in ((1, labels), (2, scores))
    }

    def add(name: str, what: str, content: bytes, padded: bytes, **more: Any) -> None:
        own = hashlib.sha256(transcript(PREFIX + b"receipt-salt", SALT, what.encode())).digest()
        commitment = transcript(PREFIX + b"receipt-commitment", what.encode(), own, content)
        file.add(name, profile=PROFILE, opens=what, salt=SALT, own_salt=own, content=content, padded=padded,
                 commitment=hashlib.sha256(commitment).hexdigest(), **more)  # fmt: skip

    add("a query", "query", asked[: 44 + 8], asked, rows=rows)
    outcomes[3] = b"\3" + outcomes[2][1:16] + labels + scores
    for name, kind in (("labels", 1), ("scores", 2), ("both", 3)):
        add(name, "answer", spec + outcomes[kind], outcomes[kind].ljust(_SIZE, b"\0"), labels=(1, 0))
    return file


def _padded_documents() -> VectorFile:
    file = VectorFile("query/padded_documents.json", "padded documents of sessions", 16)
    good = b"\0\0\0\2{}" + bytes(10)
    file.add("good", padded=good, document=b"{}")
    file.add("full", padded=b"\0\0\0\2{}", document=b"{}")
    file.add("length too large", MESSAGE, padded=b"\0\0\0\3{}")
    file.add("padding of others", MESSAGE, padded=good[:-1] + b"\1")
    return file


def _statements() -> VectorFile:
    file = VectorFile("attestation/statements.json", "statements: what Ed25519 signs", 12)
    job, model, eight = b"job_" + b"a" * 32, b"model_" + b"a" * 32, (7).to_bytes(8, "big")
    statement, session = PREFIX + b"launch-statement", b"session_" + b"a" * 32

    def add(name: str, label: bytes, *parts: bytes) -> None:
        file.add(name, parts=parts, signed=transcript(label, *parts))

    add(
        "keep-checkpoint",
        statement,
        b"keep-checkpoint",
        job,
        (1).to_bytes(8, "big"),
        eight,
        KEY,
        (3).to_bytes(8, "big"),
    )
    add("complete-job", statement, b"complete-job", job, b"finished", KEY)
    add("complete-job without a model", statement, b"complete-job", job, b"failed", b"")
    add(
        "draw-budget",
        statement,
        b"draw-budget",
        model,
        KEY,
        eight,
        (10).to_bytes(8, "big"),
        (40).to_bytes(8, "big"),
        SALT,
    )
    seen = (PREFIX + b"log-head-seen", KEY, SALT, eight, b"\x11" * 32, (2).to_bytes(8, "big"))
    marks = b'{"type":"seen-collateral","version":1,"marks":[{"subject":"root-crl","evaluation":0,"issued":7}]}'
    add("log-head-seen", *seen)
    add("log-head-seen with collateral", *seen, hashlib.sha256(marks).digest())
    add("session-open", PREFIX + b"session-open", bytes(64), KEY, session, SALT, b"\x22" * 32)
    add(
        "receipt", PREFIX + b"receipt", b"\x11" * 32, b"\x22" * 32, b"\x33" * 32, b"grant_" + b"a" * 32, eight, model,
        KEY, SALT, b"e" * 64, b"\x44" * 32, (1_700_000_000).to_bytes(8, "big"),
    )  # fmt: skip
    add("genesis digest is SHA-256 of", PREFIX + b"broker-genesis", b"the encoded genesis")
    return file
