"""Parsers of what a measured host shows: quotes, keys, boot logs, IMA lists, files of a profile (side: library)."""

from typing import Final

from common.tpm.layouts import AttestationKey
from common.tpm_ima.allowed_files import AllowedFiles, files_text
from common.tpm_ima.boot_log import parse_boot_log, replay_boot_log
from common.tpm_ima.endorsement import parse_endorsement_key
from common.tpm_ima.ima_list import ng_data, read_list
from common.tpm_ima.key_areas import parse_host_key
from common.tpm_ima.quote_format import parse_tpm_quote, parse_tpm_signature
from tests.fakes.forged_host import ForgedHost, claims_of, files, lines_of, sig_line, violation
from tests.parsers.parser import Parser
from tests.vectors.vector_file import VECTORS

_PLACE: Final = VECTORS / "tpm"
_HOST: Final = ForgedHost()
_QUOTES: Final = ((_PLACE / "quote" / "quote.out").read_bytes(), _HOST.evidence(lines_of(1)).attested)
_BOOT_LOG: Final = (_PLACE / "eventlog" / "binary_bios_measurements").read_bytes()[:1400]
_DATA: Final = ng_data(b"sha256", bytes(range(32)), b"/usr/bin/a")
_BINARY: Final = b"\n\0\0\0" + bytes(20) + b"\6\0\0\0ima-ng" + len(_DATA).to_bytes(4, "little") + _DATA


def _quote(raw: bytes) -> None:
    parse_tpm_quote(raw)


def _signature(raw: bytes) -> None:
    parse_tpm_signature(raw)


def _key(raw: bytes) -> None:
    parse_host_key(raw)


def _endorsement(raw: bytes) -> bytes:
    return parse_endorsement_key(raw).area


def _boot_log(raw: bytes) -> None:
    replay_boot_log(parse_boot_log(raw))


def _list(raw: bytes) -> None:
    for one in read_list(raw):
        assert one.path or one.is_violation


def _files(raw: bytes) -> bytes:
    return files_text(AllowedFiles.parse(raw).claims)


PARSERS: Final = (
    Parser("TPM quote", _quote, _QUOTES),
    Parser("TPM signature", _signature, ((_PLACE / "quote" / "quotesig.out").read_bytes(), _HOST.sign(_QUOTES[1]))),
    Parser(
        "attestation key of a host",
        _key,
        (AttestationKey(bytes(32), bytes(32)).area, (_PLACE / "quote" / "ak.pub").read_bytes()[2:]),
    ),
    Parser("endorsement key", _endorsement, (_HOST.endorsement_key.area,)),
    Parser("boot log", _boot_log, (_BOOT_LOG, (_PLACE / "eventlog" / "binary_bios_measurements").read_bytes())),
    Parser(
        "IMA list", _list, (b"".join(lines_of(3)), sig_line(b"/a", bytes(range(32)), b"s") + violation(b"/b"), _BINARY)
    ),
    Parser("files of a host profile", _files, (files_text(claims_of(files(3))),)),
)
