"""Evidence with one bit flipped or its end cut off, in every field that somebody signed (side: library).

Fields of a quote are everything before its certificate chain, and each of them is changed; certificates, those of the
quote included, are changed and cut in their DER, for PEM encodes freely. Positions are drawn from a seed; the first and
the last byte of each part are always among them.
"""

import base64
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from common.dcap.engine import pck_chain_pem
from common.dcap.quote_format import split_quote
from common.messages.evidence import Collateral, SgxDcapEvidence, TdxDcapEvidence

Evidence = SgxDcapEvidence | TdxDcapEvidence

DOCUMENTS: Final = ("tcb_info", "qe_identity")
BYTES: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
CHAINS: Final = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")

_HEADER: Final = (2, 2, 4, 2, 2, 16, 20)
_SGX_REPORT: Final = (16, 4, 12, 16, 8, 8, 32, 32, 32, 32, 64, 2, 2, 2, 42, 16, 64)
_TD_REPORT: Final = (16, 48, 48, 8, 8, 8, *(8 * (48,)), 64)
_TD15_REPORT: Final = (*_TD_REPORT, 16, 48)
_P256: Final = (32, 32)
"""Sizes of the fields, reserved ones included (common/dcap/quote_format names the sources)."""


@dataclass(frozen=True)
class Mutation:
    """Changed evidence, and what was changed."""

    field: str
    position: int
    evidence: Evidence

    def __str__(self) -> str:
        return f"{self.field} at {self.position}"


def mutations(good: Evidence, per_field: int, seed: str) -> Iterator[Mutation]:
    """About `per_field` changes of every field of this evidence."""
    chance = random.Random(seed)
    chain = pck_chain_pem(good.quote)
    fields = quote_fields(good.quote)
    for position, changed in _changed(good.quote[: fields[-1].stop], 4 * per_field, chance, fields=fields):
        yield Mutation("quote", position, _with_quote(good, changed + good.quote[len(changed) :]))
    for _ in range(per_field):
        cut = chance.randrange(len(good.quote) - 1)
        yield Mutation("quote, cut", cut, _with_quote(good, good.quote[:cut]))
    for position, pem in _changed_chain(chain, per_field, chance):
        yield Mutation("quote's certificates", position, _with_quote(good, good.quote.replace(chain, pem)))
    for name in DOCUMENTS:
        text = getattr(good.collateral, name).encode()
        for position, changed in _changed(text, per_field, chance, bits=0x02):
            yield Mutation(name, position, _with(good, name, changed.decode("ascii", "replace")))
        yield Mutation(f"{name}, cut", len(text) - 1, _with(good, name, text[:-1].decode()))
    for name in BYTES:
        for position, changed in _changed(getattr(good.collateral, name), per_field, chance):
            yield Mutation(name, position, _with(good, name, changed))
        for shorter in _cuts(getattr(good.collateral, name), chance):
            yield Mutation(f"{name}, cut", len(shorter), _with(good, name, shorter))
    for name in CHAINS:
        for position, pem in _changed_chain(getattr(good.collateral, name).encode(), per_field, chance):
            yield Mutation(name, position, _with(good, name, pem.decode()))


def quote_fields(quote: bytes) -> list[range]:
    """Where each field of a quote lies, lengths and types included, up to the certificate chain."""
    parts, version = split_quote(quote), int.from_bytes(quote[:2], "little")
    body_type = (2, 4) if version == 5 else ()
    body = {384: _SGX_REPORT, 584: _TD_REPORT, 648: _TD15_REPORT}[len(parts.signed) - sum(_HEADER) - sum(body_type)]
    outer = (2, 4) if version > 3 else ()
    sizes = [*_HEADER, *body_type, *body, 4, *_P256, *_P256, *outer, *_SGX_REPORT, *_P256, 2]
    sizes += [len(parts.authentication_data), 2, 4]
    ends = [*accumulate(sizes)]
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True) if size]


def _cuts(raw: bytes, chance: random.Random) -> tuple[bytes, ...]:
    """Without its last byte, and cut somewhere."""
    return raw[:-1], raw[: chance.randrange(len(raw))]


def _changed(
    raw: bytes, count: int, chance: random.Random, *, bits: int | None = None, fields: Sequence[range] = ()
) -> Iterator[tuple[int, bytes]]:
    positions = {0, len(raw) - 1, *(chance.randrange(len(raw)) for _ in range(count - 2))}
    positions |= {chance.choice(field) for field in fields}
    for position in sorted(positions):
        flip = bits or 1 << chance.randrange(8)
        yield position, raw[:position] + bytes([raw[position] ^ flip]) + raw[position + 1 :]


def _changed_chain(pem: bytes, count: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    chain = [certificate.public_bytes(Encoding.DER) for certificate in load_pem_x509_certificates(pem)]
    for number, der in enumerate(chain):
        wrong = [*_changed(der, count, chance), *((len(cut), cut) for cut in _cuts(der, chance))]
        for position, changed in wrong:
            yield position, b"".join(_pem(one) for one in (*chain[:number], changed, *chain[number + 1 :]))


def _pem(der: bytes) -> bytes:
    """In lines of 64, as Intel writes them: a quote states how long its chain is (RFC 7468, section 2)."""
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


def _with_quote(good: Evidence, quote: bytes) -> Evidence:
    return good.model_copy(update={"quote": quote})


def _with(good: Evidence, name: str, value: object) -> Evidence:
    collateral = Collateral.model_construct(**(dict(good.collateral) | {name: value}))
    return good.model_copy(update={"collateral": collateral})
