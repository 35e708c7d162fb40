"""What authentic reports of GPUs and switches claim; whether that is enough is for the appraisal (side: verifier)."""

from collections.abc import Mapping
from dataclasses import dataclass

from common.identifiers import Digest, HexBytes48
from common.messages.evidence import TrustLevel
from common.messages.gpu_terms import Architecture
from common.nvidia.certificates import Chain
from common.nvidia.opaque_fields import GpuFields, SwitchFields


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaims:
    """One device. Measurements are by index as reference values count them.

    `device` names the silicon: SHA-256 of its boot ROM's public key, the same under all firmware. `firmware` is the
    digest in its certificate, `unsafe` whether that says that it runs in debug, recovery or insecurely.
    """

    architecture: Architecture
    chip: str
    device: Digest
    firmware: HexBytes48
    unsafe: bool
    measurements: Mapping[int, bytes]
    chain: Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuClaims(DeviceClaims):
    """A GPU."""

    fields: GpuFields


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchClaims(DeviceClaims):
    """A switch between GPUs."""

    fields: SwitchFields


@dataclass(frozen=True, slots=True, kw_only=True)
class HostClaims:
    """All GPUs of one host and the switches between them, asked with one nonce."""

    gpus: tuple[GpuClaims, ...]
    switches: tuple[SwitchClaims, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeClaims:
    """A processor and its GPUs, bound by one nonce. `trust_level` is the weaker one of both."""

    trust_level: TrustLevel
    host: HostClaims
