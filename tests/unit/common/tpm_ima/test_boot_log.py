"""A boot log is replayed by the platform profile's rules, and explains the registers of a host."""

import struct
from hashlib import sha256

import pytest

from common.crypto.digests import sha256_raw
from common.errors import AppraisalError, FormatError
from common.identifiers import Digest
from common.messages.host_profile import BOOT_REGISTER_NAMES
from common.tpm_ima.appraisal import appraise_host
from common.tpm_ima.boot_log import parse_boot_log, replay_boot_log
from common.tpm_ima.registers import BOOT_REGISTERS
from common.tpm_ima.verification import verify_host
from tests.fakes.ek_authority import AT
from tests.fakes.forged_host import ForgedHost, claims_of, files, ng_line, profile_for
from tests.vectors.vector_file import VECTORS

ALGORITHMS = ((0x4, 20), (0xB, 32))
DIGEST = sha256(b"event").digest()
LOCALITY = b"StartupLocality\0"


def head(algorithms: tuple[tuple[int, int], ...] = ALGORITHMS, *, register: int = 0, kind: int = 3) -> bytes:
    inner = b"Spec ID Event03\0" + bytes(4 + 3 + 1) + struct.pack("<I", len(algorithms))
    inner += b"".join(struct.pack("<HH", *one) for one in algorithms) + b"\0"
    return struct.pack("<II", register, kind) + bytes(20) + struct.pack("<I", len(inner)) + inner


def event(register: int, kind: int = 1, data: bytes = b"data", digests: bytes | None = None) -> bytes:
    given = b"\4\0" + bytes(20) + b"\x0b\0" + DIGEST if digests is None else digests
    return struct.pack("<III", register, kind, 2) + given + struct.pack("<I", len(data)) + data


def test_events_extend_their_register_and_no_actions_none() -> None:
    log = head() + event(2) + event(2) + event(3, kind=3) + event(14)
    registers = replay_boot_log(parse_boot_log(log))
    once = sha256_raw(bytes(32) + DIGEST)
    assert (registers[2], registers[3], registers[14]) == (sha256_raw(once + DIGEST), bytes(32), once)


def test_register_0_begins_with_the_locality_that_the_log_tells() -> None:
    registers = replay_boot_log(parse_boot_log(head() + event(0, 3, LOCALITY + b"\3") + event(0)))
    assert registers[0] == sha256_raw(bytes(31) + b"\3" + DIGEST)
    for wrong in (event(0) + event(0, 3, LOCALITY + b"\3"), 2 * event(0, 3, LOCALITY + b"\3"), event(0, 3, LOCALITY)):
        with pytest.raises(FormatError, match="format.host_evidence"):
            replay_boot_log(parse_boot_log(head() + wrong))


@pytest.mark.parametrize(
    "log",
    [
        b"",
        head(register=1),
        head(kind=1),
        head(()),
        head(((0x4, 20),)),
        head(((0xB, 20),)),
        head(((0xB, 32), (0xB, 32))),
        head(((0xB, 32), (0x99, 32))),
        head(tuple((0xB, 32) for _ in range(9))),
        head() + event(24),
        head() + event(0)[:-1],
        head() + event(0, digests=b"\x0b\0" + DIGEST + b"\x0b\0" + DIGEST),
        head() + event(0, digests=b"\x0c\0" + bytes(48) + b"\x0b\0" + DIGEST),
        head() + struct.pack("<III", 0, 1, 0xFFFFFFFF),
        head() + struct.pack("<III", 0, 1, 2) + b"\4\0" + bytes(20) + b"\x0b\0" + DIGEST + b"\xff\xff\xff\xff",
        head() + event(0) * 8193,
        bytes((1 << 20) + 1),
    ],
)
def test_a_log_out_of_bounds_is_refused(log: bytes) -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        parse_boot_log(log)


def test_a_real_log_explains_a_host() -> None:
    """A host whose registers are those of the recorded machine; one event less, and they are not."""
    log = (VECTORS / "tpm" / "eventlog" / "binary_bios_measurements-secureboot").read_bytes()
    replayed = replay_boot_log(parse_boot_log(log))
    booted = {number: replayed[number] for number in BOOT_REGISTERS}
    aggregate = sha256_raw(b"".join(booted[number] for number in range(10)))
    host = ForgedHost()
    lines = [ng_line(b"boot_aggregate", aggregate), *(ng_line(*one) for one in files(3))]
    evidence = host.evidence(lines, values=booted, boot_log=log)
    claims = verify_host(evidence, [host.authority.pinned], host.activations, AT)
    values = {name: (Digest.of(booted[int(name)]),) for name in BOOT_REGISTER_NAMES}
    appraise_host(claims, *profile_for(claims_of(files(3)), boot_registers=values, boot_log="required"))
    last = parse_boot_log(log)[-1]
    shorter = log[: -len(last.event) - 4 - 12 - sum(2 + size for size in _sizes(log))]
    assert len(parse_boot_log(shorter)) == len(parse_boot_log(log)) - 1
    with pytest.raises(AppraisalError, match="appraisal.host_log"):
        verify_host(evidence.model_copy(update={"boot_log": shorter}), [host.authority.pinned], host.activations, AT)


def _sizes(log: bytes) -> list[int]:
    """Digest sizes that the log's first event states: behind its head (32), signature and versions (24), and count."""
    (count,) = struct.unpack_from("<I", log, 56)
    return [struct.unpack_from("<HH", log, 60 + 4 * number)[1] for number in range(count)]
