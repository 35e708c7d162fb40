import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.reference_vectors import vectors
from common.dcap.collateral_name import name_of_collateral
from common.enclave.simulated_pki import SimulatedPki
from common.errors import UnavailableError
from common.identifiers import Fmspc
from common.messages.collateral import CollateralName
from common.messages.evidence import Collateral
from common.untrusted.pcs_client import PcsClient, signed_document
from tests.fakes.pcs_server import LIES, PcsDouble, serving, slow

PKI = SimulatedPki.generate(datetime.now(UTC))
PIECES = PKI.collateral(datetime.now(UTC))
NAME = name_of_collateral(PIECES)


@pytest.mark.parametrize("hexadecimal", [False, True], ids=["DER", "hexadecimal, as a PCCS may"])
def test_all_nine_pieces_come_byte_for_byte(hexadecimal: bool) -> None:
    with serving(PcsDouble(lambda: PIECES, hexadecimal=hexadecimal)) as pcs:
        assert PcsClient(pcs.url).fetch(NAME) == PIECES
        assert [one.split("?")[0] for one in pcs.asked] == [
            "/sgx/certification/v4/pckcrl", "/sgx/certification/v4/tcb", "/sgx/certification/v4/qe/identity",
            "/sgx/certification/v4/rootcacrl",
        ]  # fmt: skip


def test_a_root_crl_from_another_address() -> None:
    with serving(PcsDouble(lambda: PIECES)) as pcs, serving(PcsDouble(lambda: PIECES)) as intel:
        PcsClient(pcs.url, f"{intel.url}/sgx/certification/v4/rootcacrl").fetch(NAME)
        assert len(pcs.asked) == 3
        assert len(intel.asked) == 1


AUTHENTIC = {
    str(vector): vector.evidence().collateral for vector in vectors("authentic") if "uptodate" in vector.path.name
}


@pytest.mark.parametrize("pieces", AUTHENTIC.values(), ids=AUTHENTIC.keys())
def test_authentic_documents_survive_the_way(pieces: Collateral) -> None:
    with serving(PcsDouble(lambda: pieces)) as pcs:
        assert PcsClient(pcs.url).fetch(name_of_collateral(pieces)) == pieces


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_is_no_collateral_is_unavailable(lie: object) -> None:
    with serving(PcsDouble(lambda: PIECES, lie=lie)) as pcs, pytest.raises(UnavailableError) as refused:  # type: ignore[arg-type]
        PcsClient(pcs.url).fetch(NAME)
    assert refused.value.code == "unavailable.collateral"


def test_a_dripping_answer_is_cut_off() -> None:
    began = time.monotonic()
    with serving(PcsDouble(lambda: PIECES, lie=slow)) as pcs, pytest.raises(UnavailableError):
        PcsClient(pcs.url, seconds=0.3).fetch(NAME)
    assert time.monotonic() - began < 5


def test_a_pccs_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    own = own_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own)
    with serving(PcsDouble(lambda: PIECES), tls) as pcs:
        assert PcsClient(pcs.url, ca_file=own).fetch(NAME) == PIECES
        with pytest.raises(UnavailableError):
            PcsClient(pcs.url).fetch(NAME)
    with pytest.raises(OSError, match=r"."):
        PcsClient(pcs.url, ca_file=tmp_path)


def own_certificate(directory: Path) -> Path:
    """Key and self-signed certificate in one file."""
    key, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pccs")])
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, SHA256())
    )
    path = directory / "pccs.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


def test_an_unknown_platform_and_a_closed_port_are_unavailable() -> None:
    with serving(PcsDouble(lambda: PIECES)) as pcs:
        with pytest.raises(UnavailableError):
            PcsClient(pcs.url).fetch(CollateralName(tee="sgx", fmspc=Fmspc("00906ed50000"), ca="platform"))
        with pytest.raises(UnavailableError):
            PcsClient(pcs.url).fetch(CollateralName(tee="tdx", fmspc=NAME.fmspc, ca="platform"))
    with pytest.raises(UnavailableError):
        PcsClient(pcs.url).fetch(NAME)


def test_a_document_is_cut_out_as_it_stands() -> None:
    body = b'{ "tcbInfo" : {"a": 1.0,  "b":"\\u00e9"} , "signature":"00ff"}'
    assert signed_document(body, "tcbInfo") == ('{"a": 1.0,  "b":"\\u00e9"}', b"\x00\xff")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"tcbInfo":1,"signature":""}', b'{"tcbInfo":{"a":1}}',
        b'{"tcbInfo":{"a":1},"signature":5}',
        b'{"tcbInfo":{"a":1},"signature":"xy"}', b'{"x":"\\"tcbInfo\\":","tcbInfo":{"a":1},"signature":""}' + b"\xff",
        b'{"tcbInfo":{"a":1},"signature":"","tcbInfo":{"a":2}}',
    ],
)  # fmt: skip
def test_a_document_that_is_none(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        signed_document(body, "tcbInfo")


def test_what_is_cut_out_is_what_json_means() -> None:
    body = f'{{"tcbInfo":{PIECES.tcb_info},"signature":"{PIECES.tcb_info_signature.hex()}"}}'.encode()
    text, _ = signed_document(body, "tcbInfo")
    assert json.loads(text) == json.loads(body)["tcbInfo"]
    assert text == PIECES.tcb_info
