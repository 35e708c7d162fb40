"""Evidence of real GPUs and a switch is accepted, and refused for one reason when one thing is wrong with it."""

from typing import Final

import pytest

from common.errors import Refusal
from common.identifiers import Digest
from common.messages.gpu_evidence import DeviceReport, GpuEndorsements, GpuEvidence, GpuRoots
from common.messages.gpu_terms import Architecture, GpuExposure, GpuTerms
from common.nvidia import NVIDIA_ROOTS, GpuClaims, SwitchClaims, appraise_host, verify_device, verify_host
from common.nvidia.measured import mismatches, values_for
from common.nvidia.rim import verify_rim
from tests.vectors.nvidia_evidence import (
    AT,
    BLACKWELL,
    DRIVER_RIM,
    FORGED,
    HOPPER,
    HOPPER_RIM_AT,
    HOPPERS,
    ONE_HOPPER,
    SWITCH,
    SWITCH_RIM,
    VBIOS_RIM,
    nonce_of,
    rim,
)

UNKNOWN: Final = GpuTerms(dangerously_allow=tuple(GpuExposure))


def refused(device: DeviceReport, *, nonce: bytes | None = None, roots: GpuRoots = NVIDIA_ROOTS, at: int = AT) -> str:
    with pytest.raises(Refusal) as refusal:
        verify_device(device, roots, nonce or nonce_of(device), at)
    return refusal.value.code


def verified(device: DeviceReport) -> GpuClaims | SwitchClaims:
    return verify_device(device, NVIDIA_ROOTS, nonce_of(device), AT)


@pytest.mark.parametrize(
    ("device", "chip", "architecture", "driver", "vbios", "mode"),
    [
        (HOPPER, "GH100", Architecture.HOPPER, "535.86.09", "96.00.5E.00.01", None),
        (BLACKWELL, "GB100", Architecture.BLACKWELL, "575.32", "97.00.88.00.0F", None),
        *((one, "GH100", Architecture.HOPPER, "590.12", "96.00.A5.00.01", "protected-pcie") for one in HOPPERS),
    ],
)
def test_real_gpus(device: DeviceReport, chip: str, architecture: str, driver: str, vbios: str, mode: str) -> None:
    claims = verified(device)
    assert isinstance(claims, GpuClaims)
    assert (claims.chip, claims.architecture, len(claims.measurements)) == (chip, architecture, 64)
    assert (claims.fields.driver_version, claims.fields.vbios_version, claims.fields.mode) == (driver, vbios, mode)
    assert claims.fields.fwid in {None, bytes.fromhex(claims.firmware)}
    assert not claims.unsafe


def test_a_real_switch_measures_what_nvidia_signed() -> None:
    claims = verified(SWITCH)
    assert isinstance(claims, SwitchClaims)
    assert (claims.chip, claims.architecture, claims.fields.pdi) == ("LS_10", Architecture.LS10, "203eb31ad9ed0008")
    values = verify_rim(rim(SWITCH_RIM), NVIDIA_ROOTS, AT)
    assert (values.version, values.of_switch, len(values.golden)) == ("96.10.55.00.01", True, 31)
    assert values_for(claims, [values]) == (values,)
    assert mismatches(claims, [values]) == ()


def test_a_real_gpu_that_measures_otherwise() -> None:
    """NVIDIA's own example of a mismatch: eleven of its VBIOS's twelve measurements are as signed."""
    claims = verified(HOPPER)
    values = verify_rim(rim(VBIOS_RIM), NVIDIA_ROOTS, HOPPER_RIM_AT)
    wrong = mismatches(claims, values_for(claims, [values], may_be_unknown=True))
    assert [(one.index, one.of_vbios, one.seen) for one in wrong] == [(9, True, claims.measurements[9])]


def test_an_unmeasured_gpu_is_accepted_where_it_is_named() -> None:
    host = verify_host(GpuEvidence(devices=(ONE_HOPPER,)), nonce_of(ONE_HOPPER), NVIDIA_ROOTS, AT)
    appraise_host(host, GpuEndorsements(), NVIDIA_ROOTS, UNKNOWN, AT)
    for left_out in GpuExposure:
        allowing = tuple(one for one in GpuExposure if one is not left_out)
        with pytest.raises(Refusal):
            appraise_host(host, GpuEndorsements(), NVIDIA_ROOTS, GpuTerms(dangerously_allow=allowing), AT)


def test_a_shown_mismatch_refuses_even_where_none_need_be_shown() -> None:
    host = verify_host(GpuEvidence(devices=(HOPPER,)), nonce_of(HOPPER), NVIDIA_ROOTS, HOPPER_RIM_AT)
    appraise_host(host, GpuEndorsements(), NVIDIA_ROOTS, UNKNOWN, HOPPER_RIM_AT)
    with pytest.raises(Refusal, match="appraisal.gpu_measurement") as refusal:
        appraise_host(host, GpuEndorsements(rims=(rim(VBIOS_RIM),)), NVIDIA_ROOTS, UNKNOWN, HOPPER_RIM_AT)
    assert str(refusal.value.seen).startswith("VBIOS 9: ")


def test_four_real_gpus_are_a_host() -> None:
    host = verify_host(GpuEvidence(devices=HOPPERS), nonce_of(HOPPERS[0]), NVIDIA_ROOTS, AT)
    assert len(host.gpus) == 4
    appraise_host(host, GpuEndorsements(), NVIDIA_ROOTS, UNKNOWN, AT)
    fabric = GpuTerms(dangerously_allow=(GpuExposure.MEASUREMENTS, GpuExposure.REVOCATION))
    with pytest.raises(Refusal, match="appraisal.gpu_set"):  # they trust four switches that are not shown
        appraise_host(host, GpuEndorsements(), NVIDIA_ROOTS, fabric, AT)


def test_real_devices_that_are_no_host() -> None:
    for devices in ((HOPPER, BLACKWELL), (ONE_HOPPER, ONE_HOPPER), (SWITCH,), (HOPPERS[0], SWITCH)):
        with pytest.raises(Refusal) as refusal:
            verify_host(GpuEvidence(devices=devices), nonce_of(devices[0]), NVIDIA_ROOTS, AT)
        assert refusal.value.code in {"appraisal.gpu_set", "appraisal.gpu_binding"}


def test_a_real_signature_that_is_broken() -> None:
    assert refused(FORGED) == "authenticity.gpu_report"


def test_a_report_under_the_chain_of_another_device() -> None:
    assert refused(HOPPERS[0].model_copy(update={"chain": HOPPERS[1].chain})) == "authenticity.gpu_report"


def test_a_foreign_nonce() -> None:
    assert refused(HOPPER, nonce=bytes(32)) == "appraisal.gpu_binding"


def test_a_time_at_which_a_real_chain_is_not_valid_yet() -> None:
    for device in (HOPPER, BLACKWELL, SWITCH):
        assert refused(device, at=1_600_000_000) == "freshness.gpu_report"


def test_another_root() -> None:
    roots = NVIDIA_ROOTS.model_copy(update={"device_key_sha256": Digest("0" * 64)})
    assert refused(HOPPER, roots=roots) == "appraisal.gpu_root"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("incorrect_signature_driver_rim.xml", "authenticity.rim"),
        ("incorrect_cert_chain_driver_rim.xml", "format.rim"),
        ("NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml", "authenticity.rim"),
        ("NV_GPU_DRIVER_GH100_570.124.03_expired.xml", "freshness.rim"),
    ],
)
def test_real_reference_values_with_a_defect(name: str, code: str) -> None:
    with pytest.raises(Refusal, match=code):
        verify_rim(rim(name), NVIDIA_ROOTS, AT)


def test_real_reference_values() -> None:
    values = verify_rim(rim(DRIVER_RIM), NVIDIA_ROOTS, AT)
    assert (values.chip, values.version, values.of_switch, values.of_vbios) == ("GH100", "550.144.03", False, False)
    assert len(values.golden) == 21
    for name, at in ((DRIVER_RIM, 1_800_000_000), (VBIOS_RIM, AT), (SWITCH_RIM, HOPPER_RIM_AT)):
        with pytest.raises(Refusal, match="freshness.rim"):
            verify_rim(rim(name), NVIDIA_ROOTS, at)
