"""Reports that are split, and what is none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FormatError
from common.nvidia.report_format import SIGNATURE_BYTES, parse_report
from tests.fakes.gpu_forge import MEASURED, NONCE, Device, block, forge
from tests.parsers.spoilt import spoilt

GOOD = forge().gpu().report().report
SWITCH = forge().switch().report().report


def with_record(record: bytes, blocks: int) -> bytes:
    """A report whose blocks are these."""
    tail = GOOD[45 + int.from_bytes(GOOD[42:45], "little") :]
    return GOOD[:41] + bytes([blocks]) + len(record).to_bytes(3, "little") + record + tail


def test_a_report_is_split() -> None:
    report = parse_report(GOOD)
    assert (report.nonce, dict(report.measurements)) == (NONCE, MEASURED)
    assert (report.signed, len(report.signature)) == (GOOD[:-SIGNATURE_BYTES], SIGNATURE_BYTES)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 50])
def test_what_frames_it_is_as_specified(at: int) -> None:
    with pytest.raises(FormatError, match="format.gpu_report"):
        parse_report(GOOD[:at] + bytes([GOOD[at] ^ 0x40]) + GOOD[at + 1 :])


@pytest.mark.parametrize(
    ("record", "blocks"),
    [
        (b"", 0),
        (block(1, bytes(48)), 2),
        (block(1, bytes(48)) + block(1, bytes(48)), 2),
        (block(0, bytes(48)), 1),
        (block(1, bytes(48)) + b"\0", 1),
        (block(1, bytes(48))[:-1], 1),
    ],
)
def test_blocks_stand_once_and_are_whole(record: bytes, blocks: int) -> None:
    with pytest.raises(FormatError):
        parse_report(with_record(record, blocks))


def test_a_field_stands_once() -> None:
    device = forge().gpu()
    said = Device(device.chain, {3: b"1"}, device.measured).report().report
    assert parse_report(said).opaque == {3: b"1"}
    end = len(said) - SIGNATURE_BYTES
    twice = said[: end - 7] + b"\x0a\0" + said[end - 5 : end] * 2 + said[end:]
    with pytest.raises(FormatError):
        parse_report(twice)


@given(st.binary(max_size=400))
def test_only_format_errors_of_any_bytes(raw: bytes) -> None:
    with pytest.raises(FormatError):
        parse_report(raw)


@given(spoilt((GOOD, SWITCH)))
def test_only_format_errors_of_spoilt_reports(raw: bytes) -> None:
    with suppress(FormatError):
        parse_report(raw)
