"""Quotes, boot logs and lists of real machines (tests/vectors/tpm)."""

from pathlib import Path

import pytest

from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest
from common.tpm_ima.boot_log import parse_boot_log, replay_boot_log
from common.tpm_ima.ima_list import read_list
from common.tpm_ima.key_areas import parse_host_key
from common.tpm_ima.quote_format import parse_tpm_quote, parse_tpm_signature
from common.tpm_ima.registers import quoted_registers, require_registers
from common.tpm_ima.verification import require_signed
from tests.vectors.vector_file import VECTORS

PLACE = VECTORS / "tpm"
QUOTE, SIGNATURE = (PLACE / "quote" / name for name in ("quote.out", "quotesig.out"))
KEY = (PLACE / "quote" / "ak.pub").read_bytes()[2:]  # a TPM2B_PUBLIC
PREFIXES = {  # first bytes of registers
    "binary_bios_measurements": {0: "0ee9a7fe", 7: "741fd028", 8: "f5dc3fee", 9: "e0bde306", 14: "17cdefd9"},
    "binary_bios_measurements-secureboot": {0: "0d993cf4", 7: "2f96e1f1", 8: "79019cc5", 9: "acd038dd", 14: "66c46526"},
}


def _values(path: Path) -> list[Digest]:
    """Of tpm2-tools' file: a selection of 132 bytes, two counts, then digests in places of 66."""
    raw = path.read_bytes()
    return [Digest.of(raw[142 + 66 * at :][:32]) for at in range(int.from_bytes(raw[136:140], "little"))]


def test_a_real_quote_is_authentic() -> None:
    quote, signature = parse_tpm_quote(QUOTE.read_bytes()), parse_tpm_signature(SIGNATURE.read_bytes())
    require_signed(parse_host_key(KEY), signature, QUOTE.read_bytes())
    registers = quoted_registers(quote, _values(PLACE / "quote" / "quotepcr.out"), signature.hash_name)
    assert (quote.clock, quote.reset_count, list(registers)) == (5994, 0, [15, 16, 22])
    assert registers[22] == b"\xff" * 32


def test_it_is_no_quote_of_a_host() -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        require_registers(parse_tpm_quote(QUOTE.read_bytes()), _values(PLACE / "quote" / "quotepcr.out"), "sha256")


def test_no_bit_of_a_real_quote_may_change() -> None:
    raw, signature = QUOTE.read_bytes(), parse_tpm_signature(SIGNATURE.read_bytes())
    key = parse_host_key(KEY)
    for at in range(len(raw)):
        with pytest.raises(AuthenticityError, match="authenticity.host"):
            require_signed(key, signature, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


def test_other_registers_are_not_the_quoted_ones() -> None:
    values = _values(PLACE / "quote" / "quotepcr.out")
    quote = parse_tpm_quote(QUOTE.read_bytes())
    with pytest.raises(AuthenticityError, match="authenticity.host"):
        quoted_registers(quote, values[::-1], "sha256")
    with pytest.raises(FormatError, match="format.host_evidence"):
        quoted_registers(quote, values[:2], "sha256")


@pytest.mark.parametrize("name", PREFIXES)
def test_real_boot_logs_replay(name: str) -> None:
    events = parse_boot_log((PLACE / "eventlog" / name).read_bytes())
    registers = replay_boot_log(events)
    assert {number: registers[number].hex()[:8] for number in PREFIXES[name]} == PREFIXES[name]
    assert len(events) in {120, 98}


@pytest.mark.parametrize("cut", [1, 40, 1000, 20000])
def test_a_boot_log_that_ends_early_is_none(cut: int) -> None:
    raw = (PLACE / "eventlog" / "binary_bios_measurements").read_bytes()
    with pytest.raises(FormatError, match="format.host_evidence"):
        parse_boot_log(raw[:-cut])


def test_a_bogus_boot_log_is_refused() -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        parse_boot_log((PLACE / "eventlog" / "binary_bios_measurements-bogus").read_bytes())


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_real_lists_are_read(algorithm: str) -> None:
    boot, data = read_list((PLACE / "ima" / f"ima-log-{algorithm}").read_bytes())
    assert (boot.path, data.path) == (b"boot_aggregate", b"/data")
    assert data.claim.startswith(algorithm.encode() + b":")
    assert not data.is_violation


def test_a_list_by_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        list(read_list((PLACE / "ima" / "ima-log-unknown").read_bytes()))
