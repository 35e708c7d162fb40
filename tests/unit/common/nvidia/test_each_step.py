"""Each numbered step is taken out of the code, to see that it alone refuses what is named here."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Final

import pytest
from cryptography.x509.ocsp import OCSPCertStatus

from common.crypto.digests import sha256
from common.errors import Refusal
from common.identifiers import Digest
from common.messages.gpu_evidence import GpuEndorsements, GpuEvidence
from common.messages.gpu_terms import GpuTerms
from common.nvidia import appraisal, certificates, host, revocation, verification, verify_host, xml_signature
from common.nvidia.canonical_xml import parse_xml
from tests.fakes.gpu_forge import AT, DRIVER, FWID, NONCE, VBIOS, Device, certify, composite_id, forge, tcb_info
from tests.fakes.switched_off import without

GPU: Final = forge().gpu()
OTHER: Final = bytes(48)
RIMS: Final = (forge().rim(), forge().rim(VBIOS))


def device(one: Device, **report: bytes) -> Callable[[ModuleType], object]:
    return lambda module: module.verify_device(one.report(**report), forge().roots, NONCE, AT)


def unsigned(module: ModuleType) -> object:
    good = GPU.report()
    spoilt = good.model_copy(update={"report": good.report[:-1] + bytes([good.report[-1] ^ 1])})
    return module.verify_device(spoilt, forge().roots, NONCE, AT)


def together(*devices: Device) -> Callable[[ModuleType], object]:
    evidence = GpuEvidence(devices=tuple(one.report() for one in devices))
    return lambda module: module.verify_host(evidence, NONCE, forge().roots, AT)


def terms(
    *devices: Device,
    rims: tuple[bytes, ...] = RIMS,
    answers: bool = True,
    named: tuple[Digest, ...] = (),
    **stated: Any,
) -> Callable[[ModuleType], object]:
    shown = devices or (GPU,)
    claims = verify_host(GpuEvidence(devices=tuple(one.report() for one in shown)), NONCE, forge().roots, AT)
    known = forge().answers(*(one.chain[1:] for one in shown), forge().rim_chain) if answers else ()
    given = GpuEndorsements(rims=rims, ocsp_answers=known)
    return lambda module: module.appraise_host(claims, given, forge().roots, GpuTerms(rims=named, **stated), AT)


def chain(*parties: Any, root: Digest | None = None) -> Callable[[ModuleType], object]:
    encoded = tuple(one.der for one in parties)
    key = root or forge().roots.device_key_sha256
    return lambda module: module.require_chain(encoded, 5, "gpu_report", key, AT)


def leaf(*issuers: Any, **fields: Any) -> Any:
    return certify("GH100 A01 GSP FMC LF", issuers[0], extensions=(composite_id(FWID),), **({"ca": False} | fields))


def document(raw: bytes) -> Callable[[ModuleType], object]:
    def judge(module: ModuleType) -> object:
        root = parse_xml(raw)
        return module.require_signed_by(forge().rim_signer.certificate.public_key(), root, module.split_signature(root))

    return judge


def spoilt_value(raw: bytes) -> bytes:
    begin = raw.index(b"<ds:SignatureValue>") + 30
    return raw[:begin] + (b"B" if raw[begin : begin + 1] == b"A" else b"A") + raw[begin + 1 :]


def other_info(raw: bytes) -> bytes:
    """SignedInfo that says more, well signed: without (a) nobody asks what it says."""
    text, _, rest = raw.decode().partition("<ds:Signature ")
    info = rest.split("<ds:SignedInfo>")[1].split("</ds:SignedInfo>")[0]
    return forge().signed(text, info=info.replace('URI=""', 'URI="#a"'))


def answers(*about: bytes, **bound: Any) -> Callable[[ModuleType], object]:
    checked = certificates.require_chain(
        tuple(one.der for one in GPU.chain), 5, "gpu_report", forge().roots.device_key_sha256, AT
    )
    return lambda module: module.require_unrevoked(checked, module.read_answers(about), 7 * 86_400, AT, **bound)


ROM, ICA, FAMILY, ROOT = GPU.chain[1:]
PARTS: Final = tuple(forge().answer(one, issuer) for one, issuer in ((ICA, FAMILY), (FAMILY, ROOT)))
PAST: Final = datetime.fromtimestamp(AT, UTC) - timedelta(seconds=1)
GOOD: Final = GPU.chain

CASES: Final = {
    "report not signed": (verification, "4", unsigned),
    "foreign nonce": (verification, "5", device(GPU, nonce=bytes(32))),
    "other firmware": (verification, "6", device(GPU.saying(t20=OTHER))),
    "device twice": (host, "2", together(GPU, GPU)),
    "two modes": (host, "3", together(GPU, forge().gpu(mode=0))),
    "foreign switch": (host, "4", together(GPU, forge().switch("01" * 8))),
    "missing GPU": (appraisal, "1", terms(gpus=2)),
    "recovery": (
        appraisal,
        "2",
        terms(
            forge().gpu("GB100", extensions=(tcb_info(FWID, bytes.fromhex("20000001")),)),
            rims=(forge().rim(chip="GB100"), forge().rim(VBIOS, chip="GB100")),
        ),
    ),
    "denied device": (appraisal, "3", terms(devices=(Digest("0" * 64),))),
    "driver": (appraisal, "4", terms(min_driver_version="581.0")),
    "VBIOS": (appraisal, "4", terms(vbios_versions=("96.00.5E.00.02",))),
    "mode": (appraisal, "5", terms(modes=("multi-gpu",))),
    "switches not shown": (appraisal, "6", terms(forge().gpu(mode=2))),
    "values not named": (appraisal, "7", terms(named=(sha256(RIMS[0]),))),
    "changed driver": (appraisal, "8", terms(GPU.measuring(m2=OTHER))),
    "no answers": (appraisal, "9", terms(answers=False)),
    "leaf that certifies": (certificates, "a", chain(leaf(GOOD[1], ca=True), *GOOD[1:])),
    "no issuer": (certificates, "b", chain(leaf(FAMILY), *GOOD[1:])),
    "another root": (certificates, "c", chain(*GOOD, root=Digest("0" * 64))),
    "expired": (certificates, "d", chain(leaf(GOOD[1], end=PAST), *GOOD[1:])),
    "SignedInfo says more": (xml_signature, "a", document(other_info(RIMS[0]))),
    "document changed": (xml_signature, "b", document(RIMS[0].replace(DRIVER.encode(), b"580.159.04"))),
    "another signature": (xml_signature, "c", document(spoilt_value(RIMS[0]))),
    "somebody else answers": (revocation, "2", answers(*PARTS, forge().answer(ROM, ICA, signer=FAMILY))),
    "revoked": (revocation, "3", answers(*PARTS, forge().answer(ROM, ICA, status=OCSPCertStatus.REVOKED))),
    "old answer": (revocation, "4", answers(*PARTS, forge().answer(ROM, ICA, age_seconds=10**6, lasts_seconds=10**7))),
}


@pytest.mark.parametrize("name", CASES)
def test_one_step_alone_refuses(name: str) -> None:
    module, step, judge = CASES[name]
    with pytest.raises(Refusal):
        judge(module)
    judge(without(module, step))


def test_every_step_that_only_refuses_has_a_case() -> None:
    """The others make what later steps use: (1), (2), (3) of a report, (1) of a host."""
    tried = {(module.__name__.rpartition(".")[2], step) for module, step, _ in CASES.values()}
    expected = {
        "verification": "456", "host": "234", "appraisal": "123456789", "certificates": "abcd", "xml_signature": "abc",
        "revocation": "234",
    }  # fmt: skip
    assert tried == {(module, step) for module, steps in expected.items() for step in steps}
