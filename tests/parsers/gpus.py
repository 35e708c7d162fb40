"""Parsers of what GPUs, NVIDIA's reference values and its OCSP responder say (side: library)."""

from typing import Final

from common.errors import FormatError, Refusal
from common.messages.gpu_evidence import DeviceReport
from common.nvidia import verify_device
from common.nvidia.canonical_xml import canonicalize, parse_xml
from common.nvidia.report_format import parse_report
from common.nvidia.revocation import read_answers
from common.nvidia.rim import verify_rim
from tests.fakes.gpu_forge import AT, NONCE, forge
from tests.parsers.parser import Parser

_GPU: Final = forge().gpu()
_REPORTS: Final = tuple(one.report().report for one in (_GPU, forge().gpu("GB100"), forge().switch()))
_CHAIN: Final = _GPU.report().chain
_RIMS: Final = (forge().rim(),)


def _report(raw: bytes) -> None:
    parse_report(raw)


def _device(raw: bytes) -> None:
    """Every byte of the report counts, so nothing else than the seed is accepted."""
    verify_device(DeviceReport.model_construct(report=raw, chain=_CHAIN), forge().roots, NONCE, AT)


def _certificate(raw: bytes) -> None:
    """A device's own certificate, which names its firmware."""
    chain = (raw, *_CHAIN[1:])
    verify_device(DeviceReport.model_construct(report=_REPORTS[0], chain=chain), forge().roots, NONCE, AT)


def _xml(raw: bytes) -> bytes:
    return canonicalize(parse_xml(raw))


def _rim(raw: bytes) -> None:
    verify_rim(raw, forge().roots, AT)


def _answer(raw: bytes) -> None:
    read_answers((raw,))


PARSERS: Final = (
    Parser("gpu-report", _report, _REPORTS),
    Parser("gpu-verified", _device, _REPORTS, (Refusal,)),
    Parser("gpu-certificate", _certificate, (_CHAIN[0],), (Refusal,)),
    Parser("plain-xml", _xml, _RIMS, canonical=False),
    Parser("rim", _rim, _RIMS, (Refusal,)),
    Parser("ocsp-answer", _answer, forge().answers(_GPU.chain)[:1], (FormatError,)),
)
