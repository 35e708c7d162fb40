"""Evidence of real GPUs and a switch, and NVIDIA's reference values for some (side: library).

Where the bytes come from, and under which licence: tests/vectors/nvidia/README.md.
"""

import base64
import json
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from common.messages.gpu_evidence import DeviceReport

FOLDER: Final = Path(__file__).parent / "nvidia"

AT: Final = 1_782_864_000
"""1 July 2026: the switch's reference values are valid, and all devices are."""

HOPPER_RIM_AT: Final = 1_720_000_000
"""3 July 2024: so is what signed the VBIOS of the one Hopper."""

DRIVER_RIM: Final = "NV_GPU_DRIVER_GH100_550.144.03.xml"
VBIOS_RIM: Final = "NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml"
SWITCH_RIM: Final = "switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"


def of_text(report: str, chain: str) -> DeviceReport:
    """From a report in hexadecimal and a chain in PEM."""
    return _device(bytes.fromhex((FOLDER / report).read_text()), (FOLDER / chain).read_bytes())


def of_json(name: str) -> tuple[DeviceReport, ...]:
    """From evidence as NVIDIA's tools write it."""
    each = json.loads((FOLDER / name).read_text())
    return tuple(_device(base64.b64decode(one["evidence"]), base64.b64decode(one["certificate"])) for one in each)


def rim(name: str) -> bytes:
    """Reference values."""
    return (FOLDER / name).read_bytes()


def nonce_of(device: DeviceReport) -> bytes:
    """With which it was asked."""
    return device.report[4:36]


def _device(report: bytes, pem: bytes) -> DeviceReport:
    chain = tuple(one.public_bytes(Encoding.DER) for one in load_pem_x509_certificates(pem))
    return DeviceReport(report=report, chain=chain)


HOPPER: Final = of_text("hopperAttestationReport.txt", "hopperCertChain.txt")
BLACKWELL: Final = of_text("blackwellAttestationReport.txt", "blackwellCertChain.txt")
FORGED: Final = of_text("hopperAttestationReportInvalidSignature.txt", "hopperCertChainExpired.txt")
HOPPERS: Final = of_json("multi_gpu_hopper.json")
(ONE_HOPPER,) = of_json("hopper_evidence.json")
(SWITCH,) = of_json("switch_evidence_ls10.json")
