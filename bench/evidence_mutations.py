"""Evidence with one bit flipped or its end cut off, in every field that somebody signed (side: library).

Fields of a quote are everything before its certificate chain; certificates, those of the quote included, are changed in
their DER, for PEM encodes freely. Positions are drawn from a seed; the first and the last byte of each field are always
among them.
"""

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from common.dcap.engine import pck_chain_pem
from common.messages.evidence import Collateral, SgxDcapEvidence, TdxDcapEvidence

Evidence = SgxDcapEvidence | TdxDcapEvidence

DOCUMENTS: Final = ("tcb_info", "qe_identity")
BYTES: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
CHAINS: Final = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")


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
    for position, changed in _changed(good.quote[: good.quote.index(chain)], 4 * per_field, chance):
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
    for name in CHAINS:
        for position, pem in _changed_chain(getattr(good.collateral, name).encode(), per_field, chance):
            yield Mutation(name, position, _with(good, name, pem.decode()))


def _changed(raw: bytes, count: int, chance: random.Random, *, bits: int | None = None) -> Iterator[tuple[int, bytes]]:
    positions = {0, len(raw) - 1, *(chance.randrange(len(raw)) for _ in range(count - 2))}
    for position in sorted(positions):
        flip = bits or 1 << chance.randrange(8)
        yield position, raw[:position] + bytes([raw[position] ^ flip]) + raw[position + 1 :]


def _changed_chain(pem: bytes, count: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    chain = [certificate.public_bytes(Encoding.DER) for certificate in load_pem_x509_certificates(pem)]
    for number, der in enumerate(chain):
        for position, changed in _changed(der, count, chance):
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
