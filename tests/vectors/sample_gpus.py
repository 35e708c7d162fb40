"""One of each message about GPUs (side: library)."""

from common.identifiers import Digest
from common.messages.base import Message
from common.messages.gpu_evidence import DeviceReport, GpuEndorsements, GpuEvidence
from common.messages.gpu_terms import Architecture, GpuExposure, GpuTerms
from common.nvidia import NVIDIA_ROOTS


def gpu_messages() -> list[Message]:
    """Evidence, what it is verified with, and terms."""
    device = DeviceReport(report=b"a report", chain=(b"a certificate", b"its issuer"))
    terms = GpuTerms(
        architectures=(Architecture.HOPPER, Architecture.BLACKWELL),
        gpus=8,
        driver_versions=("580.159.03", "590.12"),
        min_driver_version="580.159.03",
        vbios_versions=("96.00.5E.00.01",),
        modes=("single-gpu", None),
        devices=(Digest("1" * 64),),
        denied_devices=(Digest("2" * 64),),
        rims=(Digest("3" * 64),),
        max_revocation_age_seconds=86_400,
        dangerously_allow=(GpuExposure.FABRIC,),
    )
    endorsements = GpuEndorsements(rims=(b"<SoftwareIdentity/>",), ocsp_answers=(b"an answer",))
    return [GpuEvidence(devices=(device,)), device, endorsements, NVIDIA_ROOTS, GpuTerms(), terms]
