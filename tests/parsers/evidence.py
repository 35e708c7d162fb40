"""Parsers of what machines and vendors say: quotes, reports, certificates, collateral, SIGSTRUCT (side: library)."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.dcap import verify_quote
from common.dcap.certificates import require_collateral_chains
from common.dcap.collateral import parse_collateral_json, require_collateral
from common.dcap.engine import pck_chain_pem, pck_platform
from common.dcap.quote_format import parse_quote
from common.enclave.sigstruct import parse_sigstruct
from common.errors import AuthenticityError, FormatError, Refusal
from common.identifiers import Digest
from common.messages.evidence import AllowedRoot, Collateral, SgxDcapEvidence
from common.messages.snp_reference_values import SnpProduct
from common.snp import amd_roots, verify_report
from common.snp.report_format import parse_report
from common.untrusted.pcs_client import signed_document
from tests.fakes.evidence_forge import KINDS, Forge
from tests.fakes.real_snp_reports import AT, debug_evidence, real_evidence
from tests.fakes.sigstructs import sigstruct
from tests.parsers.parser import Parser
from tests.vectors.vector_file import read_vectors

_VECTORS: Final = read_vectors("quote/simulated.json")
_GOOD: Final = _VECTORS[0]
_COLLATERAL: Final = Collateral.decode(json.dumps(_GOOD["collateral"]).encode())
_ROOTS: Final = (AllowedRoot(platform="sgx", root_key_sha256=Digest(_GOOD["root_key_sha256"])),)
_QUOTES: Final = tuple(bytes.fromhex(one["quote"]) for one in _VECTORS)
_SNP: Final = real_evidence(SnpProduct.MILAN)
_SNP_PIECES: Final = ("report", "signer", "intermediate", "root", "crl")
_HEX_PIECES: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")


def _domains() -> tuple[bytes, ...]:
    """TDX quotes v4 and v5, of a platform made for them."""
    with tempfile.TemporaryDirectory() as place:
        forge = Forge.make(Path(place, "cpu"))
        return tuple(forge.of(kind).evidence().quote for kind in KINDS[1:])


def _with(name: str, value: object) -> Collateral:
    return Collateral.model_construct(**(dict(_COLLATERAL) | {name: value}))


def _quote(raw: bytes) -> None:
    parse_quote(raw)


def _quote_chain(raw: bytes) -> None:
    pck_platform(raw)
    pck_chain_pem(raw)


def _quote_verified(raw: bytes) -> None:
    """Every byte of the quote counts, so nothing else than the seed is accepted."""
    verify_quote(SgxDcapEvidence.model_construct(quote=raw, collateral=_COLLATERAL), _ROOTS, _GOOD["verify_at"])


def _collateral_json(raw: bytes) -> bytes:
    return _as_file(parse_collateral_json(raw))


def _as_file(collateral: Collateral) -> bytes:
    fields = dict(collateral)
    return json.dumps(fields | {name: fields[name].hex() for name in _HEX_PIECES}).encode()


def _piece(name: str) -> Callable[[bytes], None]:
    """Collateral of which one piece is `raw`, as a quote's verification reads it."""
    is_text = isinstance(getattr(_COLLATERAL, name), str)

    def read(raw: bytes) -> None:
        changed = _with(name, raw.decode("utf-8", errors="replace") if is_text else raw)
        require_collateral_chains(changed, _GOOD["verify_at"])
        require_collateral(changed, "sgx", _GOOD["verify_at"])
        evidence = SgxDcapEvidence.model_construct(quote=_QUOTES[0], collateral=changed)
        verify_quote(evidence, _ROOTS, _GOOD["verify_at"])

    return read


def _piece_parser(name: str) -> Parser:
    good = getattr(_COLLATERAL, name)
    return Parser(name, _piece(name), (good.encode() if isinstance(good, str) else good,), (Refusal,))


def _pcs_answer(raw: bytes) -> None:
    signed_document(raw, "tcbInfo")


def _snp_report(raw: bytes) -> bytes:
    return parse_report(raw).raw


def _snp_piece(name: str) -> Callable[[bytes], None]:
    """Evidence of a real guest of which one piece is `raw`. Every byte counts, so nothing else is accepted."""

    def read(raw: bytes) -> None:
        verify_report(_SNP.model_copy(update={name: raw}), amd_roots(), AT)
        assert raw == getattr(_SNP, name)

    return read


def _sigstruct(raw: bytes) -> None:
    parse_sigstruct(raw)


PARSERS: Final = (
    Parser("quote", _quote, (*_QUOTES, *_domains())),
    Parser("quote-chain", _quote_chain, (*_QUOTES, *_domains())),
    Parser("quote-verified", _quote_verified, _QUOTES, (Refusal,)),
    Parser("collateral-file", _collateral_json, (_as_file(_COLLATERAL),), canonical=False),
    *(_piece_parser(name) for name in Collateral.model_fields),
    Parser(
        "pcs-answer",
        _pcs_answer,
        (f'{{"tcbInfo":{_COLLATERAL.tcb_info},"signature":"{_COLLATERAL.tcb_info_signature.hex()}"}}'.encode(),),
        (ValueError, KeyError, TypeError),
    ),
    Parser("snp-report", _snp_report, (_SNP.report, debug_evidence().report)),
    *(Parser(f"snp-verified-{name}", _snp_piece(name), (getattr(_SNP, name),), (Refusal,)) for name in _SNP_PIECES),
    Parser("sigstruct", _sigstruct, (sigstruct(bytes(range(32))),), (FormatError, AuthenticityError)),
)
