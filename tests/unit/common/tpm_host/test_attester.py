"""The whole way with a real TPM: certificate, activation, quote, list; and what a hostile host would show instead."""

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificates

from common.certificate_links import root_key_sha256
from common.crypto.digests import sha256_raw
from common.crypto.tpm_keys import Activations
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, Refusal, UnavailableError
from common.messages.evidence import TrustLevel
from common.messages.host_evidence import HostEvidence
from common.tpm.layouts import RsaEndorsementKey
from common.tpm_host.attester import HostAttester, HostSettings
from common.tpm_ima.appraisal import appraise_host
from common.tpm_ima.continuity import require_continuous
from common.tpm_ima.endorsement import challenge
from common.tpm_ima.ima_list import read_list
from common.tpm_ima.registers import BOOT_REGISTERS, IMA_REGISTER
from common.tpm_ima.verification import host_binding, require_host_binding, verify_host
from tests.fakes.ek_authority import EkAuthority
from tests.fakes.forged_host import claims_of, profile_for
from tests.fakes.measured_host import MeasuredHost, manufacture
from tests.fakes.software_tpm import SoftwareTpm

FILES = [(b"/usr/bin/part-%d" % number, sha256(b"%d" % number).digest()) for number in range(5)]
STRANGE = (b"/usr/bin/strange", sha256(b"strange").digest())
REPORT_DATA = bytes(range(64))
BINDING = host_binding(REPORT_DATA)


@pytest.fixture
def authority() -> EkAuthority:
    return EkAuthority()


@pytest.fixture
def host(tmp_path: Path, authority: EkAuthority) -> Iterator[MeasuredHost]:
    host = MeasuredHost(tmp_path / "host", authority)
    for one in FILES:
        host.run(*one)
    yield host
    host.close()


@pytest.fixture
def activations() -> Activations:
    return Activations()


def judge(host: MeasuredHost, evidence: HostEvidence, activations: Activations) -> None:
    claims = host.verified(evidence, activations)
    require_host_binding(claims, REPORT_DATA)
    appraise_host(claims, *profile_for(claims_of(FILES), boot_registers=host.boot_registers))


def test_a_host_that_ran_what_it_may_is_accepted(host: MeasuredHost, activations: Activations) -> None:
    evidence = host.evidence(BINDING, activations)
    judge(host, evidence, activations)
    judge(host, HostEvidence.decode(evidence.encode()), activations)


def test_one_file_outside_the_profile_is_the_end_of_it(host: MeasuredHost, activations: Activations) -> None:
    host.run(*STRANGE)
    evidence = host.evidence(BINDING, activations)
    with pytest.raises(AppraisalError, match="appraisal.host_file"):
        judge(host, evidence, activations)
    lines = host.list.read_bytes().splitlines(keepends=True)
    for hidden in (lines[:-1], [*lines[:-2], lines[-1]], [*lines[:-1], lines[-2]]):
        with pytest.raises(AppraisalError, match="appraisal.host_log"):
            judge(host, evidence.model_copy(update={"measurement_list": b"".join(hidden)}), activations)


def test_the_list_grows_between_quote_and_reading(
    host: MeasuredHost, activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran after the quote is not judged by it; the next quote has it."""
    quote = HostAttester._quote

    def quote_and_run(attester: HostAttester, binding: bytes) -> tuple[bytes, bytes, tuple[bytes, ...]]:
        made = quote(attester, binding)
        attester.tpm.close()
        host.run(*STRANGE)
        return made

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(HostAttester, "_quote", quote_and_run)
        meanwhile.setattr(HostAttester, "close", lambda _: None)
        evidence = host.evidence(BINDING, activations)
    assert STRANGE[0] in evidence.measurement_list
    judge(host, evidence, activations)
    with pytest.raises(AppraisalError, match="appraisal.host_file"):
        judge(host, host.evidence(BINDING, activations), activations)


def test_a_quote_of_before_is_for_nothing_new(host: MeasuredHost, activations: Activations) -> None:
    evidence = host.evidence(host_binding(bytes(64)), activations)
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        judge(host, evidence, activations)
    before, now = (host.verified(host.evidence(BINDING, activations), activations).moment for _ in range(2))
    require_continuous(now, before)
    for replayed in (before, now):
        with pytest.raises(FreshnessError, match="freshness.host"):
            require_continuous(replayed, now)


def test_another_tpm_quotes_for_itself_alone(
    host: MeasuredHost, activations: Activations, tmp_path: Path, authority: EkAuthority
) -> None:
    """Both are of the allowed authority; the other one's quote passes for this one nowhere."""
    other = MeasuredHost(tmp_path / "other", authority)
    try:
        ours, theirs = host.evidence(BINDING, activations), other.evidence(BINDING, activations)
        mixed = ours.model_copy(update={"attested": theirs.attested, "signature": theirs.signature})
        with pytest.raises(AuthenticityError, match="authenticity.host"):
            host.verified(mixed, activations)
        keyed = mixed.model_copy(update={"attestation_key": theirs.attestation_key})
        for activation in (ours.activation, theirs.activation):
            with pytest.raises(FreshnessError, match="freshness.challenge"):
                host.verified(keyed.model_copy(update={"activation": activation}), activations)
        attester = HostAttester(other.settings)
        with pytest.raises(UnavailableError, match="unavailable.tpm"):
            attester.activate(challenge(ours.endorsement_key, ours.attestation_key, activations))
        attester.close()
        with pytest.raises(FreshnessError, match="freshness.host"):
            require_continuous(other.verified(theirs, activations).moment, host.verified(ours, activations).moment)
    finally:
        other.close()


def test_a_key_without_proof_of_its_tpm_is_refused(host: MeasuredHost, activations: Activations) -> None:
    evidence = host.evidence(BINDING, Activations())  # activated for another verifier
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        host.verified(evidence, activations)
    attester = HostAttester(host.settings)
    with pytest.raises(RuntimeError, match="activate"):
        attester.evidence(BINDING)
    attester.close()


def test_a_host_that_went_down_begins_anew(host: MeasuredHost, activations: Activations) -> None:
    before = host.verified(host.evidence(BINDING, activations), activations).moment
    host.restart()
    with pytest.raises(Refusal, match="appraisal.host_log"):  # the old list, with registers that begin anew
        judge(host, host.evidence(BINDING, activations), activations)
    host.boot()
    evidence = host.evidence(BINDING, activations)
    judge(host, evidence, activations)
    with pytest.raises(FreshnessError, match="freshness.host"):
        require_continuous(host.verified(evidence, activations).moment, before)


def test_a_list_with_an_unknown_template_is_refused(host: MeasuredHost, activations: Activations) -> None:
    evidence = host.evidence(BINDING, activations)
    spoilt = evidence.measurement_list.replace(b"ima-ng", b"ima-xy", 1)
    with pytest.raises(FormatError, match="format.host_evidence"):
        host.verified(evidence.model_copy(update={"measurement_list": spoilt}), activations)


def test_a_tpm_as_its_maker_delivers_it(tmp_path: Path, host: MeasuredHost, activations: Activations) -> None:
    """swtpm's own authority: RSA endorsement key, certificate in the TPM. It says that it is an emulator."""
    software = SoftwareTpm()
    try:
        issuers = manufacture(software, tmp_path)
        attester = HostAttester(
            HostSettings(tpm=software.name, boot_log=None, measurement_list=host.list, issuers=issuers)
        )
        assert isinstance(attester.tpm.endorsement_key, RsaEndorsementKey)
        attester.activate(challenge(attester.endorsement_area, attester.attestation_area, activations))
        _boot_like(attester, host)
        root = root_key_sha256(load_pem_x509_certificates(issuers.read_bytes())[-1])
        claims = verify_host(attester.evidence(BINDING), [root], activations, int(time.time()) + 1)
        assert claims.trust_level == TrustLevel.SIMULATION
        appraise_host(claims, *profile_for(claims_of(FILES), boot_registers=host.boot_registers))
        with pytest.raises(AppraisalError, match="appraisal.root"):
            host.verified(attester.evidence(BINDING), activations)
        attester.close()
    finally:
        software.close()


def _boot_like(attester: HostAttester, host: MeasuredHost) -> None:
    for number in BOOT_REGISTERS:
        attester.tpm.extend(number, sha256_raw(b"firmware %d" % number))
    for one in read_list(host.list.read_bytes()):
        attester.tpm.extend(IMA_REGISTER, one.extends)


def test_a_host_without_its_files_says_what_is_missing(host: MeasuredHost, activations: Activations) -> None:
    host.list.unlink()
    with pytest.raises(UnavailableError, match="unavailable.host_log"):
        host.evidence(BINDING, activations)
    with pytest.raises(UnavailableError, match="unavailable.tpm"):  # neither in the TPM nor in a file
        HostAttester(HostSettings(tpm=host.software.name, issuers=host.settings.issuers))
