"""`cloister verify snp`: a bare report with what vouches for it, or a document; a value, and what is bound."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from client.cli import main
from client.context import Endpoints, Party, PinnedTrust
from common.identifiers import HexBytes48
from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SevSnpReferenceValue, SnpFloor, SnpProduct, SnpTcb, SnpTerms
from common.messages.tcb_terms import Exposure
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.real_snp_reports import AT, FOLDER, debug_evidence, real_evidence
from tests.fakes.snp_forge import SnpForge

CHAIN = [f"--certificate={FOLDER / f'turin_{name}.pem'}" for name in ("ark", "vcek", "ask")]
LIST = f"--crl={FOLDER / 'turin_crl.der'}"
REPORT = str(FOLDER / "turin_report.bin")


def verify(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", "snp", *map(str, words)])


def told(*words: object) -> dict[str, Any]:
    """What is said to programs: a verdict, or a refusal."""
    line: dict[str, Any] = json.loads(verify(*words, "--json").stdout.splitlines()[-1])
    return line


def floor(product: str, *least: int) -> dict[str, Any]:
    """Terms that accept this line from these versions on."""
    components = dict(zip(("boot_loader", "tee", "snp", "microcode"), least, strict=True))
    return {"floors": [{"product": product, "least": components}]}


def real_value(**changed: Any) -> SevSnpReferenceValue:
    """What the guest on the Turin machine is."""
    raw = real_evidence(SnpProduct.TURIN).report
    least = SnpTcb(fmc=1, boot_loader=1, tee=1, snp=4, microcode=81)
    usual = {
        "measurement": HexBytes48(raw[0x90:0xC0].hex()), "host_data": raw[0xC0:0xE0].hex(),
        "id_key_digest": raw[0xE0:0x110].hex(), "min_guest_svn": 2,
        "terms": SnpTerms(floors=(SnpFloor(product=SnpProduct.TURIN, least=least),)).model_dump(mode="json"),
    }  # fmt: skip
    return SevSnpReferenceValue.decode(json.dumps(usual | changed).encode())


@pytest.fixture
def value(tmp_path: Path) -> Path:
    (tmp_path / "value.json").write_bytes(real_value().encode())
    return tmp_path / "value.json"


def test_a_bare_report_of_a_real_machine_is_verified(value: Path) -> None:
    shown = verify(REPORT, *CHAIN, LIST, "--at", AT, "--value", value, "--report-data", "00" * 64)
    words = " ".join(shown.output.split())
    assert shown.exit_code == 0
    for said in ("VCEK of Turin under AMD's root: trust level sev-snp", "chip, 59790fb1c39f35c1",
                 "launch TCB: fmc=1 boot_loader=1 tee=1 snp=4 microcode=81", "is the value's",
                 "lays nothing open", "is what was named"):  # fmt: skip
        assert said in words


def test_it_is_kept_as_a_document_that_says_the_same(tmp_path: Path) -> None:
    kept = tmp_path / "evidence.json"
    first = told(REPORT, *CHAIN, LIST, "--at", AT, "-o", kept)
    assert SevSnpEvidence.decode(kept.read_bytes()) == real_evidence(SnpProduct.TURIN)
    assert told(kept, "--at", AT)["checks"] == first["checks"]
    assert "--value" in " ".join(first["checks"])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"measurement": "0" * 96}, "appraisal.measurement"),
        ({"host_data": "0" * 64}, "appraisal.measurement"),
        ({"single_socket": True}, "appraisal.guest"),
        ({"terms": floor("Turin", 1, 1, 5, 81)}, "appraisal.firmware"),
        ({"terms": floor("Genoa", 1, 0, 1, 1)}, "appraisal.platform"),
    ],
)  # fmt: skip
def test_another_value_refuses_it(changed: dict[str, Any], code: str, tmp_path: Path) -> None:
    (tmp_path / "value.json").write_bytes(real_value(**changed).encode())
    assert told(REPORT, *CHAIN, LIST, "--at", AT, "--value", tmp_path / "value.json")["code"] == code


def test_what_it_does_not_bind_and_when_it_is_not_valid(value: Path) -> None:
    assert told(REPORT, *CHAIN, LIST, "--at", AT, "--report-data", "01" * 64)["code"] == "appraisal.binding"
    assert told(REPORT, *CHAIN, LIST, "--at", AT + 90 * 86_400)["code"] == "freshness.snp_endorsements"
    assert verify(REPORT, *CHAIN, LIST, "--report-data", "01" * 63).exit_code == 2


@pytest.mark.parametrize(
    "words", [CHAIN, [*CHAIN[1:], LIST], [LIST], [*CHAIN, f"--crl={REPORT}"], [f"--certificate={REPORT}", LIST]]
)
def test_a_report_without_what_vouches_for_it_is_refused(words: list[str]) -> None:
    assert told(REPORT, *words)["code"] == "format.snp_endorsements"


@pytest.mark.parametrize(
    ("was", "read_late"),
    [(b"ARK-Milan", b"\xffRK-Milan"), (bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01017f"))],
    ids=["name", "key"],
)
def test_a_certificate_whose_parts_cannot_be_read_is_refused(was: bytes, read_late: bytes, tmp_path: Path) -> None:
    good, root = SnpForge().root.der, tmp_path / "root.der"
    assert was in good
    root.write_bytes(good.replace(was, read_late))
    for words in ([f"--certificate={root}", *CHAIN[1:]], [*CHAIN, f"--unsafe-root={root}"]):
        assert told(REPORT, *words, LIST, "--at", AT)["code"] == "format.snp_endorsements"


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    for raw, endorsed in ((b"", True), (bytes(1184), True), (bytes(1183), True), (b"{}", False), (b"{" * 1184, False)):
        (tmp_path / "report").write_bytes(raw)
        assert told(tmp_path / "report", *([*CHAIN, LIST] if endorsed else []))["code"] == "format.snp_report"


def test_a_document_has_its_own_certificates(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_bytes(real_evidence(SnpProduct.TURIN).encode())
    assert told(tmp_path / "e.json", LIST)["code"] == "format.snp_endorsements"


def test_a_guest_in_debug_is_one_where_the_value_names_it(tmp_path: Path) -> None:
    (tmp_path / "debug.json").write_bytes(debug_evidence().encode())
    assert told(tmp_path / "debug.json", "--at", AT)["code"] == "appraisal.debug"
    raw = debug_evidence().report
    named = real_value(
        measurement=raw[0x90:0xC0].hex(), host_data=raw[0xC0:0xE0].hex(), id_key_digest=raw[0xE0:0x110].hex(),
        min_guest_svn=0, dangerously_allow=[Exposure.DEBUG], terms=floor("Milan", 2, 0, 5, 68),
    )  # fmt: skip
    (tmp_path / "value.json").write_bytes(named.encode())
    checks = told(tmp_path / "debug.json", "--at", AT, "--value", tmp_path / "value.json")["checks"]
    assert "trust level simulation" in checks[0]
    assert any("lays debug open" in check for check in checks)


def test_a_test_root_counts_where_it_is_named_and_makes_a_simulation(tmp_path: Path) -> None:
    forge = SnpForge()
    evidence = forge.evidence()
    (tmp_path / "e.json").write_bytes(evidence.encode())
    pem = load_der_x509_certificate(evidence.root).public_bytes(Encoding.PEM)
    (tmp_path / "root.pem").write_bytes(pem)
    assert told(tmp_path / "e.json")["code"] == "appraisal.root"
    assert "trust level simulation" in told(tmp_path / "e.json", "--unsafe-root", tmp_path / "root.pem")["checks"][0]
    (tmp_path / "root.pem").write_bytes(pem * 2 + (FOLDER / "turin_ask.pem").read_bytes())
    refused = told(tmp_path / "e.json", "--unsafe-root", tmp_path / "root.pem")
    assert refused["code"] == "format.snp_endorsements"


def test_the_command_for_quotes_names_this_one(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_bytes(real_evidence(SnpProduct.TURIN).encode())
    home = ["--home", str(tmp_path)]
    party = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    world = BrokerWorld(tmp_path / "world")
    nowhere = Endpoints(attestation="http://127.0.0.1:9", ingest="http://127.0.0.1:9", query="http://127.0.0.1:9")
    party.pin(PinnedTrust(endpoints=nowhere, trust_settings=world.trust, release=world.release, broker=world.genesis))
    shown = CliRunner().invoke(main, ["verify", "quote", str(tmp_path / "e.json"), *home])
    assert shown.exit_code == 1
    assert "cloister verify snp" in " ".join(shown.stderr.split())
