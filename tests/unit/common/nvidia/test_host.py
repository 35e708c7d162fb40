"""Several devices, one host: one nonce, one kind, beside a processor's evidence."""

from dataclasses import dataclass
from typing import Final

import pytest

from common.dcap import QuoteClaims
from common.errors import Refusal
from common.identifiers import Digest
from common.messages.evidence import TrustLevel
from common.messages.gpu_evidence import GpuEvidence
from common.nvidia import NVIDIA_ROOTS, gpu_nonce, host, verify_beside, verify_host
from common.nvidia.host import ProcessorClaims
from common.nvidia.roots import trust_level_with
from common.snp.claims import SnpClaims
from tests.fakes.gpu_forge import AT, NONCE, SWITCHES, Device, forge
from tests.fakes.switched_off import checked_steps, planned_steps

REPORT_DATA: Final = bytes(range(64))


@dataclass
class Processor:
    """What is used of a processor's claims."""

    trust_level: TrustLevel = TrustLevel.TDX
    report_data: bytes = REPORT_DATA


def claims_of_processors(quote: QuoteClaims, report: SnpClaims) -> tuple[ProcessorClaims, ...]:
    """Both are such claims: mypy judges it."""
    return quote, report


def evidence(*devices: Device, nonce: bytes = NONCE) -> GpuEvidence:
    return GpuEvidence(devices=tuple(one.report(nonce) for one in devices))


def refused(*devices: Device) -> str:
    with pytest.raises(Refusal) as refusal:
        verify_host(evidence(*devices), NONCE, forge().roots, AT)
    return refusal.value.code


def test_gpus_and_their_switches() -> None:
    claims = verify_host(
        evidence(forge().gpu(), forge().switch(SWITCHES[1]), forge().gpu(), forge().switch()), NONCE, forge().roots, AT
    )
    assert (len(claims.gpus), len(claims.switches)) == (2, 2)


def test_each_step_of_the_plan_is_made() -> None:
    assert set(planned_steps(str(host.__doc__))) == checked_steps(host)


def test_one_device_twice() -> None:
    gpu = forge().gpu()
    assert refused(gpu, gpu) == "appraisal.gpu_set"
    assert refused(gpu, gpu.measuring(m0=bytes(48))) == "appraisal.gpu_set"  # the same silicon


def test_no_gpu() -> None:
    assert refused(forge().switch()) == "appraisal.gpu_set"


@pytest.mark.parametrize(
    "other",
    [
        forge().gpu("GB100"),
        forge().gpu(mode=0),
        forge().gpu().saying(t3=b"580.159.04\0"),
        forge().gpu().saying(t34=None, t36=None),
    ],
)
def test_gpus_of_different_hosts(other: Device) -> None:
    assert refused(forge().gpu(), other) == "appraisal.gpu_set"


def test_a_switch_of_another_host() -> None:
    assert refused(forge().gpu(), forge().switch("00" * 7 + "01")) == "appraisal.gpu_set"


def test_one_nonce_for_all() -> None:
    mixed = evidence(forge().gpu()).devices + evidence(forge().gpu(), nonce=bytes(32)).devices
    with pytest.raises(Refusal, match="appraisal.gpu_binding"):
        verify_host(GpuEvidence(devices=mixed), NONCE, forge().roots, AT)


def test_beside_a_processor() -> None:
    """GPUs answer for exactly this evidence of it; on test roots it is a simulation."""
    bound = evidence(forge().gpu(), nonce=gpu_nonce(REPORT_DATA))
    claims = verify_beside(Processor(), bound, forge().roots, AT)
    assert (claims.trust_level, len(claims.host.gpus)) == (TrustLevel.SIMULATION, 1)
    for processor in (Processor(report_data=bytes(64)), Processor(report_data=REPORT_DATA[:32])):
        with pytest.raises(Refusal, match="appraisal.gpu_binding"):
            verify_beside(processor, bound, forge().roots, AT)
    for nonce in (NONCE, REPORT_DATA[:32], REPORT_DATA[32:]):
        with pytest.raises(Refusal, match="appraisal.gpu_binding"):
            verify_beside(Processor(), evidence(forge().gpu(), nonce=nonce), forge().roots, AT)


def test_the_nonce_is_a_vector() -> None:
    """It is part of the format: who asks GPUs computes it, too."""
    assert gpu_nonce(REPORT_DATA).hex() == "da4e3308d7b24c49e948a2658d180be62ec73bdb259fb0ce65b777d2613a8b8b"


@pytest.mark.parametrize("level", TrustLevel)
def test_real_roots_keep_the_processors_level(level: TrustLevel) -> None:
    assert trust_level_with(level, NVIDIA_ROOTS) is level
    for name in ("device_key_sha256", "rim_key_sha256"):
        other = NVIDIA_ROOTS.model_copy(update={name: Digest("0" * 64)})
        assert trust_level_with(level, other) is TrustLevel.SIMULATION
