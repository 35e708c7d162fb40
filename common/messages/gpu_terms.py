"""Which GPUs are good enough: terms over what their reports say (side: library).

As with TCB terms, several parties may state theirs, and all must hold. The defaults accept any supported GPU that runs
a driver and VBIOS of NVIDIA's unchanged, that nobody has revoked, and whose whole fabric is shown.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import Digest
from common.messages.base import Message, Seconds

DRIVER_VERSION: Final = r"[0-9]{3,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?"
"""As NVIDIA numbers drivers: 580.159.03."""

VBIOS_VERSION: Final = r"[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}"
"""Five bytes in upper-case hexadecimal: 96.00.5E.00.01."""

DriverVersion = Annotated[str, Field(pattern=f"^{DRIVER_VERSION}$")]
VbiosVersion = Annotated[str, Field(pattern=f"^{VBIOS_VERSION}$")]

DAY_SECONDS: Final = 86_400


class Architecture(StrEnum):
    """What a device is: two families of GPUs, and the switch between Hoppers."""

    HOPPER = "hopper"
    BLACKWELL = "blackwell"
    LS10 = "ls10"


class GpuExposure(StrEnum):
    """What may be unknown of a GPU. Nothing is accepted unnamed."""

    REVOCATION = "unknown-revocation"
    """Whether NVIDIA has revoked its certificates, or those of its reference values."""

    MEASUREMENTS = "unmeasured"
    """Whether it runs NVIDIA's driver and VBIOS unchanged, and without debug tools: no reference values are shown."""

    FABRIC = "unattested-fabric"
    """What it is linked to: links are in the clear in its mode, and a switch or GPU of its fabric is not shown."""


class GpuTerms(Message):
    """Terms over the GPUs of a host. An empty list names any; what is denied stays denied.

    `modes`: how the GPU protects memory and links; `None` in it is a driver too old to say. `devices` and
    `denied_devices` name silicon (`DeviceClaims.device`), `rims` the exact reference values by the SHA-256 of their
    XML. `gpus`: how many there must be. `max_revocation_age_seconds`: how old an answer about revocation may be.
    """

    architectures: Annotated[tuple[Architecture, ...], Field(max_length=len(Architecture))] = ()
    gpus: Annotated[int, Field(ge=1, le=32)] | None = None
    driver_versions: Annotated[tuple[DriverVersion, ...], Field(max_length=256)] = ()
    min_driver_version: DriverVersion | None = None
    vbios_versions: Annotated[tuple[VbiosVersion, ...], Field(max_length=256)] = ()
    modes: Annotated[tuple[Literal["multi-gpu", "single-gpu", "protected-pcie"] | None, ...], Field(max_length=4)] = ()
    devices: Annotated[tuple[Digest, ...], Field(max_length=4096)] = ()
    denied_devices: Annotated[tuple[Digest, ...], Field(max_length=4096)] = ()
    rims: Annotated[tuple[Digest, ...], Field(max_length=256)] = ()
    max_revocation_age_seconds: Seconds = 7 * DAY_SECONDS
    dangerously_allow: Annotated[tuple[GpuExposure, ...], Field(max_length=len(GpuExposure))] = ()
