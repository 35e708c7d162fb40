"""Vectors of frames (side: library).

Key, launches, order and schedule are those of tests/unit/common/exchange/test_frames, which opens them.
"""

import struct
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.independent import PREFIX, derive, transcript
from tests.vectors.vector_file import VectorFile

JOB_KEY: Final = bytes(range(32))
ORDER, OTHER_ORDER = bytes([0x11]) * 32, bytes([0x12]) * 32
SENDER, RECEIVER, OTHER_RECEIVER = (bytes([digit]) * 32 for digit in (0x22, 0x33, 0x34))
TICK, INDEX, FRAMES_PER_TICK, FRAME_BYTES = 3, 1, 2, 1024
UP, DOWN = 1, 2
DUMMY, STATE, NOTE = 0, 1, 3
FP32, BF16 = 1, 2


def _end(slot: int, attempt: int, launch: bytes) -> bytes:
    return transcript(b"", slot.to_bytes(8, "big"), attempt.to_bytes(8, "big"), launch)


def _inside(kind: int, toolchain: int, held: int, part: tuple[int, int, int], payload: bytes) -> bytes:
    size = FRAME_BYTES - 19 - 16
    return (struct.pack(">BBIIII", kind, toolchain, held, *part) + payload).ljust(size, b"\0")


def _frame(
    inside: bytes,
    *,
    direction: int = UP,
    slot: int = 1,
    attempt: int = 2,
    order: bytes = ORDER,
    receiver: bytes | None = RECEIVER,
) -> bytes:
    header = b"CLF\x01" + struct.pack(">BHIII", direction, slot, attempt, TICK, INDEX)
    other = b"" if receiver is None else _end(0, 1, receiver)
    ends = (_end(slot, attempt, SENDER), other)
    key = derive(JOB_KEY, PREFIX + b"sending-key", PREFIX + b"frame", bytes([direction]), order, *ends)
    nonce = (TICK * FRAMES_PER_TICK + INDEX).to_bytes(12, "big")
    return header + AESGCM(key).encrypt(nonce, inside, transcript(PREFIX + b"frame", header, order))


def frames_file() -> VectorFile:
    """All of it."""
    file = VectorFile("frames/frames.json", "frames", 15)
    note = _inside(NOTE, FP32, 4, (3, 0, 1), b"note")
    state = _inside(STATE, BF16, 1, (0, 0, 2), b"\1\2")
    up: dict[str, Any]
    down: dict[str, Any]
    downlink: dict[str, Any]
    up, down = {"class": "uplink", "slot": 1, "attempt": 2}, {"class": "downlink", "slot": 0, "attempt": 1}
    downlink = {"direction": DOWN, "slot": 0, "attempt": 1, "receiver": None}
    good = _frame(note)
    file.add("uplink note", kind="NOTE", toolchain="FP32", payload=b"note", frame=good, **up)
    file.add("uplink dummy", kind="DUMMY", toolchain="BF16", payload=b"",
             frame=_frame(_inside(DUMMY, BF16, 4, (0, 0, 0), b"")), **up)  # fmt: skip
    file.add("downlink dummy", kind="DUMMY", toolchain="UNRESOLVED", payload=b"",
             frame=_frame(_inside(DUMMY, 0, 0, (0, 0, 0), b""), **downlink), **down)  # fmt: skip
    file.add("downlink state", kind="STATE", toolchain="BF16", payload=b"\1\2", frame=_frame(state, **downlink), **down)
    refused = {
        "changed tag": ("authenticity", good[:-1] + bytes([good[-1] ^ 1])),
        "another order": ("authenticity", _frame(note, order=OTHER_ORDER)),
        "another server launch": ("authenticity", _frame(note, receiver=OTHER_RECEIVER)),
        "superseded attempt": ("freshness", _frame(note, attempt=1)),
        "short": ("format", good[:-1]),
        "long": ("format", good + b"\0"),
        "unknown version": ("format", good[:3] + b"\2" + good[4:]),
        "wrong direction": ("format", _frame(note, **downlink)),
        "unknown kind": ("format", _frame(_inside(9, FP32, 4, (3, 0, 1), b""))),
        "unknown toolchain": ("format", _frame(_inside(NOTE, 3, 4, (3, 0, 1), b""))),
        "a dummy with a part": ("format", _frame(_inside(DUMMY, FP32, 4, (0, 0, 1), b""))),
        "a part beyond the last": ("format", _frame(_inside(NOTE, FP32, 4, (3, 1, 1), b""))),
    }
    for name, (family, frame) in refused.items():
        file.add(name, family, frame=frame, **up)
    return file
