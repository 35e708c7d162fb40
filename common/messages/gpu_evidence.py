"""Evidence of NVIDIA GPUs and switches, and what it is verified with (side: library).

It stands beside a processor's evidence, never alone: a GPU can say what it is and with which nonce it was asked, not
which host asks. Certificates are DER, so that they have one encoding.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import Digest
from common.messages.base import Message

MAX_REPORT_BYTES: Final = 16 << 10
"""Those in use have 2,168 (switch) to 4,300."""

MAX_RIM_BYTES: Final = 128 << 10
MAX_DEVICES: Final = 32
_MAX_CERTIFICATE_BYTES: Final = 4 << 10
_MAX_OCSP_BYTES: Final = 8 << 10

_Certificate = Annotated[bytes, Field(min_length=1, max_length=_MAX_CERTIFICATE_BYTES)]


class DeviceReport(Message):
    """What one device said: SPDM request and answer, and its certificates, its own first and the root's last."""

    report: Annotated[bytes, Field(min_length=1, max_length=MAX_REPORT_BYTES)]
    chain: Annotated[tuple[_Certificate, ...], Field(min_length=1, max_length=8)]


class GpuEvidence(Message):
    """All GPUs of a host, and the switches between them, asked with one nonce."""

    type: Literal["nvidia-gpus"] = "nvidia-gpus"
    version: Literal[1] = 1
    devices: Annotated[tuple[DeviceReport, ...], Field(min_length=1, max_length=MAX_DEVICES)]


class GpuEndorsements(Message):
    """What NVIDIA says of its devices, signed, so it may come from anybody.

    `rims`: reference values of drivers and VBIOSes, each the exact XML. `ocsp_answers`: its OCSP responder's answers
    about certificates, each in DER; how old they may be is the verifier's to say.
    """

    type: Literal["nvidia-endorsements"] = "nvidia-endorsements"
    version: Literal[1] = 1
    rims: Annotated[
        tuple[Annotated[bytes, Field(min_length=1, max_length=MAX_RIM_BYTES)], ...], Field(max_length=16)
    ] = ()
    ocsp_answers: Annotated[
        tuple[Annotated[bytes, Field(min_length=1, max_length=_MAX_OCSP_BYTES)], ...], Field(max_length=256)
    ] = ()


class GpuRoots(Message):
    """The keys that devices' chains and those of reference values must end in, each over its DER SubjectPublicKeyInfo.

    Whether they are NVIDIA's is not stated here: it follows from the keys (common/nvidia/roots.py).
    """

    device_key_sha256: Digest
    rim_key_sha256: Digest
