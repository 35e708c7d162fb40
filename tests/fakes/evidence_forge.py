"""Evidence of a simulated platform on a test root whose every piece can be remade (side: library).

One forge for all kinds of quotes that are verified, so that a defect which is made once is made for each of them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.enclave.simulated_pki import (
    CLOCK_MARGIN,
    Certified,
    SimulatedPki,
    encode_document,
    qe_identity_fields,
    sign_raw,
    tcb_info_fields,
)
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_quote import encode_report, sign_quote
from common.identifiers import MrEnclave
from common.messages.evidence import (
    SGX_FLAGS_DEBUG,
    SGX_FLAGS_INIT,
    SGX_FLAGS_MODE64BIT,
    AllowedRoot,
    Collateral,
    SgxDcapEvidence,
    TdxDcapEvidence,
)
from common.messages.reference_values import TD_MIGRATABLE, TD_PROFILING, TD_SEPT_VE_DISABLE
from common.messages.tcb_terms import Exposure
from tests.fakes.tdx_quotes import TdReport, sign_td_quote, td_qe_identity_fields, tdx_collateral, tdx_tcb_info_fields

MR_ENCLAVE: Final = MrEnclave(hashlib.sha256(b"an enclave under test").hexdigest())
REPORT_DATA: Final = hashlib.sha512(b"what it binds").digest()

Kind = Literal["sgx v3", "tdx v4", "tdx v5", "tdx v5 of TD 1.5"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""Every quote that is verified: TEE, version of the quote, and of the report where there are two."""

FullEvidence = SgxDcapEvidence | TdxDcapEvidence

_HEADER: Final = 48
_ATTRIBUTES: Final = {
    Exposure.DEBUG: 1, Exposure.PROFILING: TD_PROFILING, Exposure.MIGRATION: TD_MIGRATABLE,
}  # fmt: skip


@dataclass(frozen=True)
class Forge:
    """A platform whose pieces can be remade, and what kind of quotes it makes."""

    platform: SimulatedPlatform
    at: datetime
    kind: Kind = "sgx v3"
    exposures: tuple[Exposure, ...] = ()
    service_domain: bytes = bytes(48)

    @classmethod
    def make(cls, directory: Path) -> Self:
        """A fresh platform, now."""
        return cls(SimulatedPlatform.open_or_create(directory), datetime.now(UTC))

    def of(self, kind: Kind) -> "Forge":
        """The same platform with quotes of another kind."""
        return replace(self, kind=kind)

    def exposing(self, *exposures: Exposure, service_domain: bytes = bytes(48)) -> "Forge":
        """The same, of enclaves and domains whose attributes lay this open to the host."""
        return replace(self, exposures=exposures, service_domain=service_domain)

    @property
    def time(self) -> int:
        """When its evidence is to be verified, in Unix seconds: the second in which it was made."""
        return int(self.at.timestamp())

    @property
    def is_tdx(self) -> bool:
        """Whether its quotes are of trust domains."""
        return self.kind != "sgx v3"

    @property
    def extended(self) -> bool:
        """Whether reports are of TD 1.5."""
        return self.kind == "tdx v5 of TD 1.5"

    @property
    def roots(self) -> tuple[AllowedRoot, ...]:
        """Its root, allowed for both TEEs."""
        key = self.platform.allowed_root.root_key_sha256
        return tuple(AllowedRoot(platform=tee, root_key_sha256=key) for tee in ("sgx", "tdx"))

    def td_report(self, **fields: Any) -> bytes:
        """A trust domain's report with these fields."""
        usual = {"report_data": REPORT_DATA, "attributes": self._attributes, "mr_service_td": self.service_domain}
        return TdReport(**{**usual, **fields}).encode(extended=self.extended)

    @property
    def report(self) -> bytes:
        """The usual report."""
        flags = SGX_FLAGS_INIT | SGX_FLAGS_MODE64BIT | (SGX_FLAGS_DEBUG if Exposure.DEBUG in self.exposures else 0)
        return self.td_report() if self.is_tdx else encode_report(MR_ENCLAVE.raw(), REPORT_DATA, flags=flags)

    @property
    def _attributes(self) -> int:
        """TDATTRIBUTES."""
        bits = (one for one in self.exposures if one is not Exposure.SEPT_VE)
        closed = 0 if Exposure.SEPT_VE in self.exposures else TD_SEPT_VE_DISABLE
        return closed | sum(_ATTRIBUTES[one] for one in bits)

    @property
    def attestation_public(self) -> bytes:
        """The attestation key, x || y."""
        public = self.platform.attestation_key.public_key()
        return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]

    @property
    def signature_at(self) -> int:
        """Where a quote's signature begins, behind header, report and a length."""
        return _HEADER + (6 if self.kind.startswith("tdx v5") else 0) + len(self.report) + 4

    def flipped(self, position: int) -> FullEvidence:
        """Good evidence, but for a bit of this byte of the quote."""
        good = self.evidence()
        quote = bytearray(good.quote)
        quote[position] ^= 1
        return good.model_copy(update={"quote": bytes(quote)})

    def evidence(
        self,
        *,
        pki: SimulatedPki | None = None,
        report: bytes | None = None,
        qe_report: bytes | None = None,
        chain: bytes | None = None,
        collateral: dict[str, Any] | None = None,
    ) -> FullEvidence:
        """Good evidence, but for what is given."""
        pki = pki or self.platform.pki
        quote = self._sign(
            report or self.report,
            self.platform.attestation_key,
            pki.pck.key,
            chain or pki.pck_chain,
            qe_report=qe_report,
        )
        pieces = Collateral(**(dict(self.collateral(pki)) | (collateral or {})))
        return (TdxDcapEvidence if self.is_tdx else SgxDcapEvidence)(quote=quote, collateral=pieces)

    def collateral(self, pki: SimulatedPki) -> Collateral:
        """Good collateral of these keys."""
        return tdx_collateral(pki, self.at) if self.is_tdx else pki.collateral(self.at)

    def tcb_info(self, issued: datetime | None = None, **changes: object) -> dict[str, Any]:
        """Signed TCB info with these fields, as collateral fields."""
        make = tdx_tcb_info_fields if self.is_tdx else tcb_info_fields
        return self._signed("tcb_info", make(issued or self.at - CLOCK_MARGIN) | changes)

    def qe_identity(self, issued: datetime | None = None, **changes: object) -> dict[str, Any]:
        """A signed QE identity with these fields, as collateral fields."""
        make = td_qe_identity_fields if self.is_tdx else qe_identity_fields
        return self._signed("qe_identity", make(issued or self.at - CLOCK_MARGIN) | changes)

    def with_tcb_signer(self, signer: Certified) -> FullEvidence:
        """All collateral signed by this certificate instead."""
        return self.evidence(pki=replace(self.platform.pki, tcb_signing=signer))

    @property
    def _sign(self) -> Any:
        return partial(sign_td_quote, version=int(self.kind[5])) if self.is_tdx else sign_quote

    def _signed(self, name: str, fields: dict[str, object]) -> dict[str, Any]:
        text = encode_document(fields)
        return {name: text, f"{name}_signature": sign_raw(self.platform.pki.tcb_signing.key, text.encode())}


Defect = tuple[str, Callable[[Forge], FullEvidence]]
"""A code, and evidence that is refused with it."""
