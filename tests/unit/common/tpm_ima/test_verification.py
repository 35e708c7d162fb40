"""Each check of a host's evidence, by evidence that only it refuses; and thousands of changes, none accepted."""

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.x509 import ObjectIdentifier

from common.crypto.tpm_keys import Activations
from common.errors import AppraisalError, CloisterError, FreshnessError, Refusal
from common.identifiers import Digest
from common.messages.evidence import TrustLevel
from common.messages.host_evidence import HostEvidence
from common.tpm_ima.claims import HostClaims
from common.tpm_ima.continuity import require_continuous
from common.tpm_ima.registers import QUOTED
from common.tpm_ima.verification import host_binding, require_host_binding, verify_host
from tests.fakes.ek_authority import AT, Defects, EkAuthority
from tests.fakes.forged_host import BINDING, BOOTED, ForgedHost, files, lines_of, ng_line, quote_bytes
from tests.vectors.vector_file import VECTORS

HOST = ForgedHost()
LINES = lines_of(20)
GOOD = HOST.evidence(LINES)


def verified(evidence: HostEvidence, host: ForgedHost = HOST, at: int = AT) -> HostClaims:
    return verify_host(evidence, [host.authority.pinned], host.activations, at)


def test_good_evidence_is_accepted_and_says_where_the_host_is() -> None:
    claims = verified(GOOD)
    assert claims.trust_level == TrustLevel.TPM_IMA
    assert len(claims.entries) == len(LINES)
    assert (claims.moment.clock, claims.moment.reset_count) == (5000, 7)
    assert claims.endorsement_key == HOST.endorsement_key.digest
    assert HostEvidence.decode(GOOD.encode()) == GOOD


def test_an_emulator_that_says_so_is_a_simulation() -> None:
    host = ForgedHost(EkAuthority(Defects(model="swtpm")))
    assert verified(host.evidence(LINES), host).trust_level == TrustLevel.SIMULATION


def _area(change: Callable[[bytearray], None]) -> bytes:
    area = bytearray(HOST.attestation_key.area)
    change(area)
    return bytes(area)


def _attributes(bits: int) -> bytes:
    return _area(lambda area: area.__setitem__(slice(4, 8), bits.to_bytes(4, "big")))


OTHER = ForgedHost(HOST.authority, HOST.activations)
REGISTERS = [value.raw() for value in GOOD.registers]
SIGNED_BY_OTHER = OTHER.sign(GOOD.attested)


@pytest.mark.parametrize(
    ("code", "other"),
    [
        ("format.host_evidence", {"magic": 0xFF544348}),
        ("format.host_evidence", {"kind": 0x8017}),
        ("format.host_evidence", {"attestation_key": _attributes(0x00040072)}),  # not restricted
        ("format.host_evidence", {"attestation_key": _attributes(0x00050070)}),  # may leave the TPM
        ("format.host_evidence", {"attestation_key": _attributes(0x00050062)}),  # may have another parent
        ("format.host_evidence", {"attestation_key": _attributes(0x00050052)}),  # may come from elsewhere
        ("format.host_evidence", {"attestation_key": _attributes(0x00070072)}),  # decrypts, too
        ("format.host_evidence", {"attestation_key": _attributes(0x00010072)}),  # does not sign
        ("format.host_evidence", {"attestation_key": HOST.attestation_key.area + b"\0"}),
        ("format.message", {"endorsement_key": HOST.attestation_key.area}),
        ("format.host_evidence", {"selected": QUOTED[:-1]}),
        ("format.host_evidence", {"registers": GOOD.registers[:-1]}),
        ("authenticity.host", {"endorsement_key": OTHER.endorsement_key.area}),
        ("authenticity.host", {"endorsement_certificates": GOOD.endorsement_certificates[:2]}),
        ("authenticity.host", {"endorsement_certificates": GOOD.endorsement_certificates[::-1]}),
        ("authenticity.host", {"endorsement_certificates": (b"\x30\0", *GOOD.endorsement_certificates[1:])}),
        ("freshness.challenge", {"activation": bytes(32)}),
        ("freshness.challenge", {"activation": OTHER.activations.secret(HOST.endorsement_key.name, b"another")}),
        ("freshness.challenge", {"attestation_key": OTHER.attestation_key.area, "signature": SIGNED_BY_OTHER}),
        ("authenticity.host", {"signature": SIGNED_BY_OTHER}),
        ("authenticity.host", {"signature": struct.pack(">HHH", 0x14, 0xB, 256) + bytes(256)}),
        ("format.host_evidence", {"signature": GOOD.signature + b"\0"}),
        ("authenticity.host", {"registers": (Digest.of(bytes(32)), *GOOD.registers[1:])}),
        ("format.host_evidence", {"boot_log": b"bogus"}),
        ("appraisal.host_log", {"boot_log": (VECTORS / "tpm/eventlog/binary_bios_measurements").read_bytes()}),
        ("appraisal.host_log", {"measurement_list": b"".join(LINES[:-1])}),
        ("appraisal.host_log", {"measurement_list": b""}),
        ("appraisal.host_log", {"values": {0: bytes(32)}}),
    ],
)  # fmt: skip
def test_each_check_refuses(code: str, other: dict[str, Any]) -> None:
    with pytest.raises(CloisterError, match=code):
        verified(HOST.evidence(LINES, **other))


@pytest.mark.parametrize(
    "defects",
    [
        Defects(usage=ObjectIdentifier("1.3.6.1.5.5.7.3.1")),
        Defects(leaf_is_ca=True),
        Defects(issuer_is_ca=False),
        Defects(issuer_signs=False),
        Defects(root_length=0),
        Defects(critical=ObjectIdentifier("1.2.3.4")),
    ],
    ids=["another usage", "a CA", "issued by no CA", "issued by who may not sign", "too long a chain", "unknown"],
)
def test_a_certificate_out_of_its_role_is_refused(defects: Defects) -> None:
    host = ForgedHost(EkAuthority(defects))
    with pytest.raises(Refusal, match="authenticity.host"):
        verified(host.evidence(LINES), host)


def test_only_allowed_authorities_count() -> None:
    with pytest.raises(AppraisalError, match="appraisal.root"):
        verify_host(GOOD, [EkAuthority().pinned], HOST.activations, AT)
    with pytest.raises(AppraisalError, match="appraisal.root"):
        verify_host(GOOD, [], HOST.activations, AT)


def test_certificates_count_in_their_time() -> None:
    for at in (0, AT + 20 * 365 * 86400):
        with pytest.raises(AppraisalError, match="appraisal.root"):
            verified(GOOD, at=at)


def test_an_activation_of_another_verifier_is_none() -> None:
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        verify_host(GOOD, [HOST.authority.pinned], Activations(), AT)


def test_a_quote_is_for_one_launch() -> None:
    claims = verified(HOST.evidence(LINES, binding=host_binding(bytes(64))))
    require_host_binding(claims, bytes(64))
    for claims_, report_data in ((claims, b"\1" + bytes(63)), (verified(GOOD), bytes(64))):
        with pytest.raises(AppraisalError, match="appraisal.binding"):
            require_host_binding(claims_, report_data)
    with pytest.raises(ValueError, match="64"):
        host_binding(BINDING)


def test_a_host_goes_on_and_never_back() -> None:
    before = verified(GOOD).moment
    require_continuous(verified(HOST.evidence(LINES, clock=5001)).moment, before)
    for other in ({"clock": 5000}, {"clock": 4999}, {"resets": 8}, {"resets": 6}, {"restarts": 1}, {"firmware": 1}):
        later = verified(HOST.evidence(LINES, **{"clock": 9000} | other)).moment
        with pytest.raises(FreshnessError, match="freshness.host"):
            require_continuous(later, before)
    with pytest.raises(FreshnessError, match="freshness.host"):
        require_continuous(verified(OTHER.evidence(LINES, clock=9000), OTHER).moment, before)


def test_a_grown_list_is_judged_up_to_the_quote() -> None:
    grown = [*LINES, ng_line(*files(30)[29])]
    claims = verified(HOST.evidence(grown, quoted=len(LINES)))
    assert len(claims.entries) == len(LINES)


SCALARS = ("endorsement_key", "attestation_key", "activation", "attested", "signature", "measurement_list")


def _changes(count: int) -> Iterator[tuple[str, HostEvidence]]:
    chance = random.Random(5)  # noqa: S311
    for name in SCALARS:
        raw: bytes = getattr(GOOD, name)
        for _ in range(count):
            at, bit = chance.randrange(len(raw)), 1 << chance.randrange(8)
            yield f"{name} at {at}", GOOD.model_copy(update={name: raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]})
        for _ in range(count // 8):
            at = chance.randrange(len(raw) - 1)
            yield f"{name}, cut at {at}", GOOD.model_copy(update={name: raw[:at]})
    for number, raw in enumerate(GOOD.endorsement_certificates):
        for _ in range(count // 2):
            at, bit = chance.randrange(len(raw)), 1 << chance.randrange(8)
            changed = list(GOOD.endorsement_certificates)
            changed[number] = raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
            yield f"certificate {number} at {at}", GOOD.model_copy(update={"endorsement_certificates": tuple(changed)})
    for _ in range(count):
        values = list(GOOD.registers)
        at = chance.randrange(len(values))
        values[at] = Digest.of(chance.randbytes(32))
        yield f"register {at}", GOOD.model_copy(update={"registers": tuple(values)})


def test_no_change_is_accepted() -> None:
    """One bit, or an end cut off, in everything that is shown. Certificates are in DER, so no encoding is free."""
    total, accepted = 0, list[str]()
    for name, evidence in _changes(180):
        total += 1
        try:
            verified(evidence)
        except Refusal:
            continue
        accepted.append(name)
    assert total >= 1500
    assert accepted == []


def test_every_byte_of_a_quote_counts() -> None:
    raw = quote_bytes(REGISTERS)
    assert raw == GOOD.attested
    for at in range(len(raw)):
        with pytest.raises(Refusal):
            verified(GOOD.model_copy(update={"attested": raw[:at] + bytes([raw[at] ^ 0x80]) + raw[at + 1 :]}))


def test_boot_registers_are_those_of_the_platform_profile() -> None:
    assert sorted((*BOOTED, 10)) == list(QUOTED)
