"""Each term, and what it alone refuses."""

from typing import Any, Final

import pytest
from cryptography.x509.ocsp import OCSPCertStatus

from common.crypto.digests import sha256
from common.errors import Refusal
from common.identifiers import Digest
from common.messages.gpu_evidence import GpuEndorsements, GpuEvidence
from common.messages.gpu_terms import Architecture, GpuExposure, GpuTerms
from common.nvidia import HostClaims, appraisal, appraise_host, verify_host
from tests.fakes.gpu_forge import AT, DRIVER, FWID, MEASURED, NONCE, SWITCHES, VBIOS, Device, forge, tcb_info
from tests.fakes.switched_off import checked_steps, planned_steps

GPU: Final = forge().gpu()
DRIVER_RIM, VBIOS_RIM = forge().rim(), forge().rim(VBIOS)
SWITCH_RIM: Final = forge().rim(VBIOS, chip="LS10", edition="SWITCH")
RIMS: Final = (DRIVER_RIM, VBIOS_RIM, SWITCH_RIM)
OTHER: Final = bytes(48)


def claims_of(*devices: Device) -> HostClaims:
    reports = GpuEvidence(devices=tuple(one.report() for one in devices or (GPU,)))
    return verify_host(reports, NONCE, forge().roots, AT)


def judge(*devices: Device, terms: dict[str, Any] | None = None, **endorsed: tuple[bytes, ...]) -> None:
    devices = devices or (GPU,)
    answers = forge().answers(*(one.chain[1:] for one in devices), forge().rim_chain)
    usual: dict[str, Any] = {"rims": RIMS, "ocsp_answers": answers}
    host, given = claims_of(*devices), GpuEndorsements(**(usual | endorsed))
    appraise_host(host, given, forge().roots, GpuTerms(**(terms or {})), AT)


def refused(*devices: Device, terms: dict[str, Any] | None = None, **endorsed: tuple[bytes, ...]) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        judge(*devices, terms=terms, **endorsed)
    return refusal.value


def test_each_step_of_the_plan_is_made() -> None:
    assert set(planned_steps(str(appraisal.appraise_host.__doc__))) == checked_steps(appraisal)


def test_a_good_host_meets_the_default_terms() -> None:
    judge()
    judge(forge().gpu(), forge().gpu(), forge().switch())


GOOD_DEVICE: Final = claims_of().gpus[0].device


@pytest.mark.parametrize(
    "terms",
    [
        {"gpus": 1},
        {"architectures": (Architecture.HOPPER,)},
        {"devices": (GOOD_DEVICE,)},
        {"denied_devices": (Digest("0" * 64),)},
        {"driver_versions": (DRIVER,)},
        {"min_driver_version": "580.159.03"},
        {"min_driver_version": "570.200.0"},
        {"vbios_versions": (VBIOS,)},
        {"modes": ("single-gpu",)},
        {"rims": tuple(map(sha256, RIMS))},
    ],
)
def test_terms_that_it_meets(terms: dict[str, Any]) -> None:
    judge(terms=terms)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"gpus": 2}, "appraisal.gpu_set"),
        ({"architectures": (Architecture.BLACKWELL,)}, "appraisal.gpu_device"),
        ({"devices": (Digest("0" * 64),)}, "appraisal.gpu_device"),
        ({"denied_devices": (GOOD_DEVICE,)}, "appraisal.gpu_device"),
        ({"devices": (GOOD_DEVICE,), "denied_devices": (GOOD_DEVICE,)}, "appraisal.gpu_device"),
        ({"driver_versions": ("580.159.04",)}, "appraisal.gpu_version"),
        ({"min_driver_version": "580.159.04"}, "appraisal.gpu_version"),
        ({"min_driver_version": "1000.0"}, "appraisal.gpu_version"),
        ({"vbios_versions": ("96.00.5E.00.02",)}, "appraisal.gpu_version"),
        ({"modes": ("multi-gpu", "protected-pcie", None)}, "appraisal.gpu_mode"),
        ({"rims": (sha256(DRIVER_RIM), sha256(VBIOS_RIM))}, "appraisal.gpu_rim"),
        ({"max_revocation_age_seconds": 59}, "freshness.ocsp"),
    ],
)
def test_terms_that_it_does_not_meet(terms: dict[str, Any], code: str) -> None:
    assert refused(terms=terms).code == code


def test_firmware_in_debug() -> None:
    debugging = forge().gpu("GB100", extensions=(tcb_info(FWID, bytes.fromhex("10000001")),))
    everything = {"dangerously_allow": tuple(GpuExposure)}
    assert refused(debugging, terms=everything, rims=()).code == "appraisal.gpu_firmware"


def test_a_wrong_driver_is_seen_by_what_it_measures() -> None:
    refusal = refused(GPU.measuring(m2=OTHER, m5=OTHER))
    assert (refusal.code, refusal.seen) == (
        "appraisal.gpu_measurement",
        f"driver 2: {OTHER.hex()}; VBIOS 5: {OTHER.hex()}",
    )


def test_a_measurement_that_is_not_there() -> None:
    assert refused(GPU.measuring(m2=None)).seen == "driver 2: none"


def test_one_of_the_alternatives_is_enough() -> None:
    golden = {index: [OTHER, value] for index, value in MEASURED.items() if index % 2 == 0}
    judge(rims=(forge().rim(golden=golden), VBIOS_RIM))
    judge(GPU.measuring(m2=OTHER), rims=(forge().rim(golden=golden), VBIOS_RIM))


def test_what_does_not_count_may_be_anything() -> None:
    few = {0: [MEASURED[0]]}
    judge(GPU.measuring(m2=OTHER), rims=(forge().rim(golden=few), VBIOS_RIM))


def test_the_decoder_counts_where_it_is_on() -> None:
    wrong = GPU.measuring(m35=OTHER)
    assert refused(wrong).seen == f"VBIOS 35: {OTHER.hex()}"
    judge(wrong.saying(t11=b"\x55"))


@pytest.mark.parametrize(
    "rims",
    [
        (),
        (DRIVER_RIM,),
        (VBIOS_RIM,),
        (DRIVER_RIM, SWITCH_RIM),
        (DRIVER_RIM, DRIVER_RIM, VBIOS_RIM),
        (forge().rim("580.159.04"), VBIOS_RIM),
        (forge().rim(chip="GB100"), VBIOS_RIM),
        (DRIVER_RIM, forge().rim(VBIOS, golden={2: [MEASURED[2]]})),
    ],
)
def test_reference_values_that_are_not_of_this_device(rims: tuple[bytes, ...]) -> None:
    assert refused(rims=rims).code == "appraisal.gpu_rim"


def test_reference_values_with_a_bad_signature() -> None:
    forged = DRIVER_RIM.replace(MEASURED[2].hex().encode(), OTHER.hex().encode())
    everything = {"dangerously_allow": tuple(GpuExposure)}
    assert refused(GPU.measuring(m2=OTHER), rims=(forged, VBIOS_RIM), terms=everything).code == "authenticity.rim"


def test_a_switch_is_measured_too() -> None:
    assert refused(GPU, forge().switch(), rims=(DRIVER_RIM, VBIOS_RIM)).code == "appraisal.gpu_rim"
    assert refused(GPU, forge().switch().measuring(m1=OTHER)).code == "appraisal.gpu_measurement"


def test_unmeasured_where_it_is_named() -> None:
    terms = {"dangerously_allow": (GpuExposure.MEASUREMENTS,)}
    for rims in ((), (DRIVER_RIM,), (VBIOS_RIM,)):
        judge(terms=terms, rims=rims)
    assert refused(GPU.measuring(m2=OTHER), terms=terms, rims=(DRIVER_RIM,)).code == "appraisal.gpu_measurement"


def test_revoked_devices_and_reference_values() -> None:
    chain = GPU.chain
    for one, issuer in ((chain[1], chain[2]), (chain[3], chain[4]), forge().rim_chain[:2]):
        bad = forge().answer(one, issuer, status=OCSPCertStatus.REVOKED, age_seconds=1)
        answers = (*forge().answers(chain[1:], forge().rim_chain), bad)
        assert refused(ocsp_answers=answers).code == "appraisal.gpu_revoked"
        unknown = {"dangerously_allow": (GpuExposure.REVOCATION,)}
        assert refused(ocsp_answers=(bad,), terms=unknown).code == "appraisal.gpu_revoked"
        judge(ocsp_answers=(), terms=unknown)
    assert refused(ocsp_answers=()).code == "freshness.ocsp"
    assert refused(ocsp_answers=forge().answers(chain[1:])).code == "freshness.ocsp"
    judge(ocsp_answers=forge().answers(chain[1:]), rims=(), terms={"dangerously_allow": (GpuExposure.MEASUREMENTS,)})


def test_a_fabric_that_is_trusted_is_shown_whole() -> None:
    """Protected PCIe: links are in the clear, so every switch counts, and every GPU behind it."""
    pair = (forge().gpu(mode=2), forge().gpu(mode=2))
    switches = tuple(map(forge().switch, SWITCHES))
    judge(*pair, *switches)
    unnamed = {"dangerously_allow": (GpuExposure.FABRIC,)}
    for devices in (
        pair,
        (*pair, switches[0]),
        (pair[0], *switches),
        (*pair, switches[0], forge().switch(SWITCHES[1], 3)),
    ):
        assert refused(*devices).code == "appraisal.gpu_set"
        judge(*devices, terms=unnamed)
