"""What an SEV-SNP guest must be, and on which machine: reference value and terms (side: library).

AMD states no verdict about firmware, as Intel does (`TcbStatus`): whoever accepts a guest says which versions are good
enough, for each product line that is good enough. None is by default.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import ChipId, HexBytes32, HexBytes48
from common.messages.base import Message
from common.messages.tcb_terms import Exposure

_U8 = Annotated[int, Field(ge=0, lt=1 << 8)]
_U32 = Annotated[int, Field(ge=0, lt=1 << 32)]

NO_HOST_DATA: Final = HexBytes32("0" * 64)
NO_KEY: Final = HexBytes48("0" * 96)

OPENINGS: Final = (Exposure.DEBUG, Exposure.MIGRATION)
"""What a guest policy can lay open to the host (AMD 56860, GUEST_POLICY: DEBUG, MIGRATE_MA)."""


class SnpProduct(StrEnum):
    """A product line: a root, a signing key and a layout of TCB_VERSION of its own (AMD 57230, product_name)."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class PlatformFeature(StrEnum):
    """What terms may demand of a machine (AMD 56860, PLATFORM_INFO)."""

    ECC = "ecc"
    """Its memory has ECC."""

    RAPL_DISABLED = "rapl-disabled"
    """The host has no precise meter of its power: a side channel."""

    CIPHERTEXT_HIDING = "ciphertext-hiding"
    """The host can't watch encrypted memory change."""

    ALIAS_CHECKED = "alias-checked"
    """No two addresses lead to one place in memory (AMD-SB-3015)."""


class SnpTcb(Message):
    """Security versions of one line's firmware (AMD 56860, TCB_VERSION). Only Turin has an FMC: it is 0 elsewhere."""

    fmc: _U8 = 0
    boot_loader: _U8
    tee: _U8
    snp: _U8
    microcode: _U8


class SnpFloor(Message):
    """A product that is accepted, from these versions on, each by itself."""

    product: SnpProduct
    least: SnpTcb

    @model_validator(mode="after")
    def _has_its_components(self) -> Self:
        if self.least.fmc and self.product is not SnpProduct.TURIN:
            raise ValueError("only Turin has an FMC")
        return self


_Chips = Annotated[tuple[ChipId, ...], Field(max_length=4096)]


class SnpTerms(Message):
    """Terms over a machine. Products without a floor are refused; an empty list of chips names any.

    A report without a chip's name (its host masks it) is of no listed chip. `smt`: whether a machine is accepted whose
    cores run two threads. `features` are those that it must have.
    """

    floors: Annotated[tuple[SnpFloor, ...], Field(min_length=1, max_length=len(SnpProduct))]
    chips: _Chips = ()
    denied_chips: _Chips = ()
    smt: bool = True
    features: Annotated[tuple[PlatformFeature, ...], Field(max_length=len(PlatformFeature))] = ()

    @model_validator(mode="after")
    def _one_floor_each(self) -> Self:
        if len({floor.product for floor in self.floors}) != len(self.floors):
            raise ValueError("one floor for each product")
        return self


class SevSnpReferenceValue(Message):
    """A guest by its launch measurement, by what was configured beside it, and the terms over its machine.

    `host_data` is what the hypervisor gave at launch, `id_key_digest` and `author_key_digest` name who signed its ID
    block (SHA-384; zeros: there was none), `min_guest_svn` is that block's. None of these is part of the measurement.
    `single_socket` demands that the guest's policy keeps it on one socket; `max_vmpl` is the weakest privilege level
    from which its report may come. `dangerously_allow` names debug or migration: neither is accepted unnamed.
    """

    type: Literal["sev-snp"] = "sev-snp"
    measurement: HexBytes48
    host_data: HexBytes32 = NO_HOST_DATA
    id_key_digest: HexBytes48 = NO_KEY
    author_key_digest: HexBytes48 = NO_KEY
    min_guest_svn: _U32 = 0
    single_socket: bool = False
    max_vmpl: Annotated[int, Field(ge=0, le=3)] = 0
    dangerously_allow: Annotated[tuple[Exposure, ...], Field(max_length=len(OPENINGS))] = ()
    terms: SnpTerms

    @model_validator(mode="after")
    def _can_be_open(self) -> Self:
        if not set(self.dangerously_allow) <= set(OPENINGS):
            raise ValueError(f"a guest policy can lay open {' and '.join(OPENINGS)}")
        return self

    @property
    def code(self) -> str:
        """What names the code, in hexadecimal."""
        return self.measurement
