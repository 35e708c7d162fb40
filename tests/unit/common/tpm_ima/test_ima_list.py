"""The kernel's list: templates, both forms, what is refused, and where a quote ends it."""

import struct
from hashlib import sha1, sha256

import pytest

from common.errors import AppraisalError, FormatError
from common.tpm_ima.ima_list import _BLOCK_BYTES, ng_data, read_list
from common.tpm_ima.ima_replay import quoted_entries, require_boot_aggregate
from tests.fakes.forged_host import AGGREGATE, BOOTED, extended, files, lines_of, ng_line, sig_line, violation

PATH, DIGEST = files(1)[0]
ZERO = bytes(32)


def _binary(template: bytes, data: bytes, *, shown: bytes | None = None) -> bytes:
    shown = sha1(data, usedforsecurity=False).digest() if shown is None else shown
    return struct.pack("<I", 10) + shown + _sized(template) + _sized(data)


def _sized(raw: bytes) -> bytes:
    return struct.pack("<I", len(raw)) + raw


def _register(lines: list[bytes]) -> bytes:
    value = ZERO
    for line in lines:
        value = extended(line, value)
    return value


def test_both_forms_say_the_same() -> None:
    binary = _binary(b"ima-ng", ng_data(b"sha256", DIGEST, PATH))
    assert list(read_list(binary)) == list(read_list(ng_line(PATH, DIGEST)))
    signed = _binary(b"ima-sig", ng_data(b"sha256", DIGEST, PATH) + _sized(b"signature"))
    assert list(read_list(signed)) == list(read_list(sig_line(PATH, DIGEST, b"signature")))


def test_the_usual_line_is_read_as_any_other() -> None:
    """Lines of the kernel's usual form have a way of their own; a template hash by SHA-256 takes the other."""
    data = ng_data(b"sha256", DIGEST, PATH)
    general = b"10 %b ima-ng sha256:%b %b\n" % (sha256(data).hexdigest().encode(), DIGEST.hex().encode(), PATH)
    assert list(read_list(general)) == list(read_list(ng_line(PATH, DIGEST)))


@pytest.mark.parametrize("odd", [None, violation(PATH), sig_line(PATH, DIGEST, b"signature")])
@pytest.mark.parametrize("at", [0, 200, 599])
def test_many_lines_are_read_as_each_alone(odd: bytes | None, at: int) -> None:
    lines = lines_of(600)
    if odd is not None:
        lines[at] = odd
    assert list(read_list(b"".join(lines))) == [one for line in lines for one in read_list(line)]
    assert len(b"".join(lines)) > 2 * _BLOCK_BYTES


@pytest.mark.parametrize("at", [0, 300, 599])
def test_one_wrong_line_among_many_is_found(at: int) -> None:
    lines = lines_of(600)
    for spoilt in (lines[at].replace(b"10 ", b"11 "), lines[at][:-2] + b"\0\n", lines[at][:10] + b"\n", b"\n"):
        with pytest.raises(FormatError, match="format.host_evidence"):
            list(read_list(b"".join([*lines[:at], spoilt, *lines[at + 1 :]])))


def test_the_old_template_is_hashed_by_its_own_rule() -> None:
    """IMA-templates.rst: digest, and the path filled up to 256 bytes."""
    digest = bytes(range(20))
    data = digest + b"/bin/sh".ljust(256, b"\0")
    shown = sha1(data, usedforsecurity=False).digest()
    text = b"10 %b ima %b /bin/sh\n" % (shown.hex().encode(), digest.hex().encode())
    binary = struct.pack("<I", 10) + shown + _sized(b"ima") + digest + _sized(b"/bin/sh")
    (one,), (other,) = read_list(text), read_list(binary)
    assert one == other
    assert one.extends == sha256(data).digest()
    assert one.claim == b"sha1:" + digest.hex().encode() + b" /bin/sh"


def test_a_signature_may_be_missing() -> None:
    (one,) = read_list(sig_line(PATH, DIGEST, b""))
    assert one.signature == b""


def test_a_violation_is_extended_by_ones() -> None:
    lines = [ng_line(b"boot_aggregate", AGGREGATE), violation(PATH)]
    entries = quoted_entries(b"".join(lines), _register(lines))
    assert entries[1].is_violation
    assert entries[1].path == PATH


HEX = DIGEST.hex().encode()
GOOD = ng_line(PATH, DIGEST)


@pytest.mark.parametrize(
    "raw",
    [
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"10 ", b"11 ", 1),
        b"10 " + GOOD,
        GOOD.replace(b"ima-ng", b"ima-buf"),
        GOOD.replace(b"ima-ng", b"ima-sig"),
        GOOD.replace(b"sha256:", b"sha3-256:"),
        GOOD.replace(b"sha256:", b"SHA256:"),
        GOOD.replace(HEX, HEX.upper()),
        GOOD.replace(HEX, HEX[:-2]),
        GOOD.replace(HEX, b"zz" + HEX[2:]),
        GOOD.replace(PATH, b""),
        GOOD.replace(PATH, PATH + b"\0"),
        GOOD.replace(PATH, PATH + b" x"),
        GOOD.replace(PATH, PATH + b"x"),
        b"10 " + b"0" * 40 + b" ima-ng sha256:" + HEX + b" " + PATH + b"\n",
        b"10 " + b"0" * 38 + b" ima-ng sha256:" + b"0" * 64 + b" " + PATH + b"\n",
        b"10 " + GOOD[3:43].upper() + GOOD[43:],
        _binary(b"ima-ng", ng_data(b"sha256", DIGEST, PATH), shown=bytes(19) + b"\1"),
        _binary(b"ima-modsig", ng_data(b"sha256", DIGEST, PATH)),
        _binary(b"ima-ng", ng_data(b"sha256", DIGEST, PATH)[:-1]),
        _binary(b"ima-ng", ng_data(b"sha256", DIGEST, PATH) + b"\0"),
        _binary(b"ima-ng", ng_data(b"sha1", DIGEST, PATH)),
        b"\x0b" + _binary(b"ima-ng", ng_data(b"sha256", DIGEST, PATH))[1:],
        struct.pack("<I", 10) + bytes(20) + b"\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        list(read_list(raw))


def test_a_path_has_bounds() -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        list(read_list(ng_line(b"/" + b"a" * 4096, DIGEST)))


def test_the_list_may_have_grown_since_the_quote() -> None:
    lines = lines_of(50)
    for quoted in (1, 2, 50, 51):
        entries = quoted_entries(b"".join(lines), _register(lines[:quoted]))
        assert len(entries) == quoted


def test_what_comes_after_the_quote_is_not_read() -> None:
    lines = lines_of(3)
    entries = quoted_entries(b"".join([*lines, b"10 whatever follows\n"]), _register(lines))
    assert len(entries) == len(lines)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [*lines[:2], ng_line(b"/usr/bin/other", DIGEST), *lines[2:]],
        lambda lines: [*lines[:2], violation(PATH), *lines[3:]],
        lambda lines: [lines[0], ng_line(files(1)[0][0], bytes(31) + b"\1"), *lines[2:]],
        lambda lines: lines[:0],
    ],
    ids=["cut", "without boot", "swapped", "left out", "put in", "made a violation", "another digest", "empty"],
)
def test_no_other_list_gives_the_register(spoil: object) -> None:
    lines = lines_of(6)
    with pytest.raises(AppraisalError, match="appraisal.host_log"):
        quoted_entries(b"".join(spoil(lines)), _register(lines))  # type: ignore[operator]


def test_the_list_begins_with_this_boot() -> None:
    early = sha256(b"".join(BOOTED[number] for number in range(8))).digest()
    for digest in (AGGREGATE, early):
        require_boot_aggregate(tuple(read_list(ng_line(b"boot_aggregate", digest))), BOOTED)
    for line in (
        ng_line(b"boot_aggregate", DIGEST), ng_line(b"/boot_aggregate", AGGREGATE), violation(b"boot_aggregate"),
        ng_line(b"boot_aggregate", AGGREGATE[:20], algorithm=b"sha1"),
    ):  # fmt: skip
        with pytest.raises(AppraisalError, match="appraisal.host_log"):
            require_boot_aggregate(tuple(read_list(line)), BOOTED)
