"""Evidence, and how far a platform is to be trusted (side: library).

Evidence is a tagged union (RFC 9334's word): another platform is another class in it, never another meaning of a field.
What it is held against stands in `reference_values` and `tcb_terms`. Intel's word for endorsements is *collateral*.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import Digest
from common.messages.base import Message

MAX_QUOTE_BYTES: Final = 16 << 10
"""Quotes of CPUs in use have about 5 KB, nearly all of it the certificate chain."""

MAX_CHAIN_CHARS: Final = 16 << 10
MAX_DOCUMENT_CHARS: Final = 64 << 10
MAX_CRL_BYTES: Final = 128 << 10

P256_SIGNATURE_BYTES: Final = 64
"""ECDSA P-256 as r || s, which is how Intel signs collateral and quotes."""

REPORT_DATA_BYTES: Final = 64
"""REPORTDATA of an SGX or TDX report (Intel SDM vol. 3D, table 37-21)."""


class TrustLevel(StrEnum):
    """What stands behind evidence, weakest first: `simulation` < `tpm-ima` < `sgx`, `tdx`, `sev-snp`."""

    SIMULATION = "simulation"
    TPM_IMA = "tpm-ima"
    SGX = "sgx"
    TDX = "tdx"
    SEV_SNP = "sev-snp"

    @property
    def rank(self) -> int:
        """0 simulation, 1 a measured host, 2 a hardware TEE. Only ranks are compared, names have no order."""
        return {TrustLevel.SIMULATION: 0, TrustLevel.TPM_IMA: 1}.get(self, 2)


_Chain = Annotated[str, Field(min_length=1, max_length=MAX_CHAIN_CHARS)]
_Document = Annotated[str, Field(min_length=1, max_length=MAX_DOCUMENT_CHARS)]
_Crl = Annotated[bytes, Field(min_length=1, max_length=MAX_CRL_BYTES)]
_P256Signature = Annotated[bytes, Field(min_length=P256_SIGNATURE_BYTES, max_length=P256_SIGNATURE_BYTES)]
_Quote = Annotated[bytes, Field(max_length=MAX_QUOTE_BYTES)]


class Collateral(Message):
    """The nine pieces that a DCAP quote is verified with (sgx_ql_qve_collateral_t, without its version numbers).

    Chains are PEM, CRLs DER. `tcb_info` and `qe_identity` are the exact JSON texts that Intel signed: never re-encode.
    """

    pck_crl_issuer_chain: _Chain
    root_ca_crl: _Crl
    pck_crl: _Crl
    tcb_info_issuer_chain: _Chain
    tcb_info: _Document
    tcb_info_signature: _P256Signature
    qe_identity_issuer_chain: _Chain
    qe_identity: _Document
    qe_identity_signature: _P256Signature


class SgxDcapEvidence(Message):
    """An SGX quote (v3) and its collateral."""

    type: Literal["sgx-dcap"] = "sgx-dcap"
    version: Literal[1] = 1
    quote: _Quote
    collateral: Collateral


class TdxDcapEvidence(Message):
    """A TDX quote (v4 or v5) and its collateral."""

    type: Literal["tdx-dcap"] = "tdx-dcap"
    version: Literal[1] = 1
    quote: _Quote
    collateral: Collateral


class DcapQuote(Message):
    """A quote without collateral: whoever verifies it gets that elsewhere (common/dcap/completion.py)."""

    type: Literal["dcap-quote"] = "dcap-quote"
    version: Literal[1] = 1
    quote: _Quote


Evidence = Annotated[SgxDcapEvidence | TdxDcapEvidence | DcapQuote, Field(discriminator="type")]
"""Whatever a platform shows for itself."""


class AllowedRoot(Message):
    """A root whose quotes are accepted, by its key: authentic chains carry two encodings of Intel's certificate.

    `root_key_sha256` is over the DER SubjectPublicKeyInfo. Which trust level its quotes get is not stated here: it
    follows from the key (common/dcap/roots.py), so that no setting can call a simulated platform real.
    """

    platform: Literal["sgx", "tdx"]
    root_key_sha256: Digest


SGX_FLAGS_INIT: Final = 0x01
SGX_FLAGS_DEBUG: Final = 0x02
SGX_FLAGS_MODE64BIT: Final = 0x04
"""Bits of ATTRIBUTES.FLAGS (Intel SDM vol. 3D, table 35-3)."""
