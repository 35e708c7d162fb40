"""Quotes of a simulated platform: accepted under its root, refused under Intel's, refused with any one defect."""

import base64
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from common.dcap import SgxClaims, intel_roots, verify_quote
from common.dcap.engine import verify_with_engine
from common.dcap.quote_format import parse_quote
from common.errors import AppraisalError, FormatError, Refusal
from common.messages.evidence import AllowedRoot, Collateral, TdxDcapEvidence, TrustLevel
from common.messages.tcb_terms import TcbStatus
from tests.fakes.defective_evidence import REFUSED_BY
from tests.fakes.evidence_forge import MR_ENCLAVE, REPORT_DATA, Forge


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge.make(tmp_path_factory.mktemp("platform") / "cpu")


def test_a_simulated_quote_is_accepted_under_its_own_root(forge: Forge) -> None:
    claims = verify_quote(forge.evidence(), (forge.platform.allowed_root,), forge.time)
    assert isinstance(claims, SgxClaims)
    assert claims.mr_enclave == MR_ENCLAVE == claims.measurement
    assert claims.report_data == REPORT_DATA
    assert claims.trust_level is TrustLevel.SIMULATION
    assert claims.machine.tcb_status is TcbStatus.UP_TO_DATE
    assert claims.machine.fmspc == "c0ffee000000"


def test_it_is_refused_under_intels_root(forge: Forge) -> None:
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_quote(forge.evidence(), intel_roots(), forge.time)


def test_it_is_refused_under_another_installations_root(forge: Forge, tmp_path: Path) -> None:
    other = Forge.make(tmp_path / "cpu").platform.allowed_root
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_quote(forge.evidence(), (other, *intel_roots()), forge.time)


def test_a_root_allowed_for_tdx_does_not_vouch_for_sgx(forge: Forge) -> None:
    root = forge.platform.allowed_root
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_quote(forge.evidence(), (AllowedRoot(platform="tdx", root_key_sha256=root.root_key_sha256),), forge.time)


def test_an_sgx_quote_is_no_tdx_evidence(forge: Forge) -> None:
    sgx = forge.evidence()
    with pytest.raises(FormatError, match=r"format\.quote"):
        verify_quote(
            TdxDcapEvidence(quote=sgx.quote, collateral=sgx.collateral), (forge.platform.allowed_root,), forge.time
        )


@pytest.mark.parametrize("defect", REFUSED_BY)
def test_one_defect_is_enough(forge: Forge, defect: str) -> None:
    code, make = REFUSED_BY[defect]
    with pytest.raises(Refusal) as refused:
        verify_quote(make(forge), (forge.platform.allowed_root,), forge.time)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "defect",
    [
        "(1) trailing byte",
        "(3a) chain with a guest",
        "(3b) CRL chain of another CA",
        "(3b) CRL chain of another key",
        "(3c) collateral signed by another role",
        "(3d) TCB signer below the PCK CA",
        "(5a) TCB info v2",
        "(5b) TCB info issued later in this second",
        "(5b) QE identity issued later in this second",
        "(5c) PCK CRL from the future",
        "(5c) root CRL from the future",
        "(7) TCB info of another PCE",
        "(7) PCK of another PCE",
        "(8) QE report data with a tail",
    ],
)
def test_the_engine_alone_would_accept_it(forge: Forge, defect: str) -> None:
    """These rules are ours alone. When the engine learns one of them, this test says so."""
    evidence = REFUSED_BY[defect][1](forge)
    root = forge.platform.pki.root.certificate.public_bytes(Encoding.DER)
    assert verify_with_engine(evidence.quote, evidence.collateral, root, forge.time)["tcb"]["status"]


@pytest.mark.parametrize("days", [-2, 31])
def test_good_evidence_has_its_time(forge: Forge, days: int) -> None:
    with pytest.raises(Refusal, match=r"freshness\.collateral"):
        verify_quote(forge.evidence(), (forge.platform.allowed_root,), forge.time + days * 86400)


def test_every_byte_of_the_quote_counts(forge: Forge) -> None:
    good = forge.evidence()
    roots, at = (forge.platform.allowed_root,), forge.time
    end_of_signed = 48 + 384 + 4 + 64 + 64 + 384 + 64 + 2 + 32  # the rest is the chain, which re-encodes freely
    for position in range(0, end_of_signed, 7):
        changed = bytearray(good.quote)
        changed[position] ^= 1
        with pytest.raises(Refusal):
            verify_quote(good.model_copy(update={"quote": bytes(changed)}), roots, at)


def test_a_truncated_quote_is_no_quote(forge: Forge) -> None:
    quote = forge.evidence().quote
    for length in range(0, len(quote), 101):
        with pytest.raises(FormatError, match=r"format\.quote"):
            parse_quote(quote[:length])


@pytest.mark.parametrize("name", [name for name in Collateral.model_fields if name.endswith("chain")])
def test_certificates_that_cannot_be_read_are_refused(forge: Forge, name: str) -> None:
    """Flips in the encoding surface late in `cryptography`; each must become a refusal of ours."""
    good = forge.evidence()
    roots, at = (forge.platform.allowed_root,), forge.time
    first, *rest = load_pem_x509_certificates(getattr(good.collateral, name).encode())
    encoded = first.public_bytes(Encoding.DER)
    for position in range(len(encoded)):
        flipped = encoded[:position] + bytes([encoded[position] ^ 0x10]) + encoded[position + 1 :]
        chain = "".join(_pem(der) for der in (flipped, *(other.public_bytes(Encoding.DER) for other in rest)))
        changed = good.collateral.model_copy(update={name: chain})
        with pytest.raises(Refusal):
            verify_quote(good.model_copy(update={"collateral": changed}), roots, at)


def _pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"


def test_every_piece_of_collateral_counts(forge: Forge) -> None:
    other = Forge.make(forge.platform.directory.with_name("other"))
    good, foreign = forge.evidence(), replace(other, at=other.at - timedelta(days=1)).evidence()
    for name in type(good.collateral).model_fields:
        mixed = good.collateral.model_copy(update={name: getattr(foreign.collateral, name)})
        with pytest.raises(Refusal):
            verify_quote(good.model_copy(update={"collateral": mixed}), (forge.platform.allowed_root,), forge.time)
