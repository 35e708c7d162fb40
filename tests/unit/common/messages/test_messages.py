"""Messages are closed and silent; signatures are over exact bytes; identifiers are checked types."""

from typing import Literal

import pytest

from common.crypto import SigningKey
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest, JobId, PartyKey
from common.messages.base import Message
from common.messages.order import Schedule
from common.messages.signed import Signed, open_signed, sign


class Note(Message):
    """A message of the test."""

    type: Literal["note"] = "note"
    version: Literal[1] = 1
    job_id: JobId
    body: bytes


class OtherNote(Note):
    """Same fields, another type."""

    type: Literal["other-note"] = "other-note"  # type: ignore[assignment]


NOTE = Note(job_id=JobId("job_" + "0" * 32), body=b"\x00\xff")


def test_round_trip_keeps_bytes_and_types() -> None:
    again = Note.decode(NOTE.encode())
    assert again == NOTE
    assert isinstance(again.job_id, JobId)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        NOTE.encode()[:-1],
        NOTE.encode() + b"x",
        NOTE.encode().replace(b'"version":1', b'"version":2'),
        NOTE.encode().replace(b'"version":1', b'"version":"1"'),
        NOTE.encode().replace(b'"body"', b'"more":1,"body"'),
        NOTE.encode().replace(b"job_0", b"jxb_0"),
    ],
)
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        Note.decode(raw)


def test_errors_name_fields_and_never_values() -> None:
    with pytest.raises(FormatError) as caught:
        Note.decode(b'{"job_id":"planted-secret","body":"planted-secret!"}')
    assert "planted" not in caught.value.in_full()
    assert "job_id" in caught.value.in_full()


def test_oversized_messages_are_refused_unread() -> None:
    with pytest.raises(FormatError, match="format.too_large"):
        Note.decode(b" " * 100, limit=99)


def test_signature_is_over_bytes_type_and_signer() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signed = Signed.decode(sign(NOTE, key).encode())
    assert open_signed(signed, Note, [key.party]) == NOTE
    with pytest.raises(AuthenticityError):
        open_signed(signed, Note, [other.party])
    with pytest.raises(FormatError):
        open_signed(signed, OtherNote, [key.party])
    reformatted = signed.model_copy(update={"payload": signed.payload.replace(b",", b", ")})
    with pytest.raises(AuthenticityError):
        open_signed(reformatted, Note, [key.party])
    retyped = signed.model_copy(update={"payload_type": "other-note"})
    with pytest.raises(AuthenticityError):
        open_signed(retyped, OtherNote, [key.party])


def test_threshold_counts_different_keys() -> None:
    keys = [SigningKey.generate() for _ in range(3)]
    allowed = [key.party for key in keys]
    assert open_signed(sign(NOTE, *keys[:2]), Note, allowed, threshold=2) == NOTE
    with pytest.raises(AuthenticityError):
        open_signed(sign(NOTE, keys[0], keys[0]), Note, allowed, threshold=2)
    with pytest.raises(AuthenticityError):
        open_signed(sign(NOTE, keys[0], SigningKey.generate()), Note, allowed, threshold=2)


def test_identifiers_are_checked() -> None:
    with pytest.raises(FormatError, match="format.identifier"):
        JobId("job_XYZ")
    with pytest.raises(FormatError):
        Digest("00")
    assert PartyKey.of(bytes(32)).raw() == bytes(32)


def test_total_ticks_come_from_the_public_schedule() -> None:
    schedule = Schedule(
        rounds=3,
        steps_per_round=1,
        batch_rows=1,
        tick_milliseconds=10,
        ticks_per_round=5,
        slack_percent=150,
        warmup_ticks=7,
        frames_per_tick=1,
        frame_bytes=1024,
        reads_per_tick=0,
        state_class=1,
    )
    assert schedule.total_ticks == 7 + 23
