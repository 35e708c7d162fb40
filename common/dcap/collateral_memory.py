"""No older collateral than any that was accepted before (side: verifier).

Pure: marks of documents in, a refusal or the marks to remember out; whoever uses it keeps them. Signatures and dates
cannot tell a rolled-back document from the newest one: both are authentic and, for up to 30 days, both are current. In
that time a host could hide a TCB recovery or a revocation. So for each document, by the root that vouches for it:

  (a) TCB info, per TEE and FMSPC:   neither tcbEvaluationDataNumber nor issueDate falls
  (b) QE identity, per TEE:          likewise
  (c) PCK CRL, per CA:               thisUpdate does not fall (Intel's CRLNumber is always 1, so it says nothing)
  (d) root CRL:                      likewise

Intel serves two evaluations of one day, `early` and `standard`. Once the early one was seen the standard one is older:
a site uses one of them. Marks may be taken of *verified* collateral alone; a forged document of the far future would
otherwise shut out all that follow.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from cryptography.x509 import load_der_x509_crl, load_pem_x509_certificates

from common.certificate_links import UNREADABLE, root_key_sha256
from common.dcap.collateral_name import crl_ca
from common.errors import FormatError, FreshnessError
from common.identifiers import Digest
from common.json_text import read_json
from common.messages.collateral import CollateralMark
from common.messages.evidence import Collateral

_KNOWN: Final = 128
"""Collateral that is remembered with its marks: a few documents of some 20 kB, which repeat from quote to quote."""


@lru_cache(maxsize=_KNOWN)
def marks_of(collateral: Collateral) -> tuple[CollateralMark, ...]:
    """The marks of the four documents, (a) to (d). Raises `FormatError` (format.collateral)."""
    root = _root_of(collateral.tcb_info_issuer_chain)
    tcb_info, qe_identity = _fields(collateral.tcb_info), _fields(collateral.qe_identity)
    try:
        platform = f"{tcb_info['id']} {tcb_info['fmspc'].lower()}"
        return (
            _document_mark(f"tcb-info {root} {platform}", tcb_info),  # (a)
            _document_mark(f"qe-identity {root} {qe_identity['id']}", qe_identity),  # (b)
            _crl_mark(f"pck-crl {root} {crl_ca(collateral.pck_crl)}", collateral.pck_crl),  # (c)
            _crl_mark(f"root-crl {root}", collateral.root_ca_crl),  # (d)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise FormatError("format.collateral", expected="documents with number and issue date") from cause


def vouched_for(told: Iterable[Collection[CollateralMark]], quorum: int = 1) -> tuple[CollateralMark, ...]:
    """Of each document the newest number and date that `quorum` of these memories, or more, have reached."""
    known = defaultdict[str, list[CollateralMark]](list)
    for marks in told:
        for mark in {mark.subject: mark for mark in marks}.values():
            known[mark.subject].append(mark)
    return tuple(
        CollateralMark(
            subject=subject,
            evaluation=sorted(mark.evaluation for mark in marks)[-quorum],
            issued=sorted(mark.issued for mark in marks)[-quorum],
        )
        for subject, marks in sorted(known.items())
        if len(marks) >= quorum
    )


def news_for(reader: Collection[CollateralMark], known: tuple[CollateralMark, ...]) -> tuple[CollateralMark, ...]:
    """All that is known, if the reader's memory does not have all of it; nothing otherwise."""
    return () if set(vouched_for((reader, known))) == set(reader) else known


class CollateralMemory:
    """The newest mark of each document, as far as it was told."""

    def __init__(self, marks: Iterable[CollateralMark] = ()) -> None:
        self._newest = {mark.subject: mark for mark in marks}

    def require_not_older(self, marks: Collection[CollateralMark]) -> None:
        """Raise `FreshnessError` (freshness.collateral) for the first document that is older than one seen."""
        for mark in marks:
            known = self._newest.get(mark.subject, mark)
            if mark.evaluation < known.evaluation or mark.issued < known.issued:
                raise FreshnessError("freshness.collateral", expected=f"{_text(known)} or newer", seen=_text(mark))

    def remember(self, marks: Collection[CollateralMark]) -> tuple[CollateralMark, ...]:
        """Take marks of verified collateral that is not older; those that were not known, to be kept."""
        self.require_not_older(marks)
        fresh = tuple(mark for mark in marks if self._newest.get(mark.subject) != mark)
        self._newest.update({mark.subject: mark for mark in fresh})
        return fresh

    def learn(self, marks: Collection[CollateralMark]) -> tuple[CollateralMark, ...]:
        """Take what others vouch for, as far as it is newer; those that were not known, to be kept."""
        return self.remember([one for one in vouched_for((self.marks, marks)) if self._newest.get(one.subject) != one])

    @property
    def marks(self) -> tuple[CollateralMark, ...]:
        """All of them, by subject."""
        return tuple(self._newest[subject] for subject in sorted(self._newest))


def _text(mark: CollateralMark) -> str:
    return f"{mark.subject}: evaluation {mark.evaluation}, issued {mark.issued}"


def _document_mark(subject: str, fields: dict[str, Any]) -> CollateralMark:
    issued = int(datetime.fromisoformat(fields["issueDate"]).timestamp())
    return CollateralMark(subject=subject, evaluation=fields["tcbEvaluationDataNumber"], issued=issued)


def _crl_mark(subject: str, der: bytes) -> CollateralMark:
    try:
        issued = int(load_der_x509_crl(der).last_update_utc.timestamp())
    except UNREADABLE as cause:
        raise FormatError("format.collateral", expected="a DER CRL") from cause
    return CollateralMark(subject=subject, evaluation=0, issued=issued)


def _fields(text: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = read_json(text)
    except ValueError as cause:
        raise FormatError("format.collateral", expected="JSON documents") from cause
    return fields


def _root_of(chain: str) -> Digest:
    """The key of the chain's self-issued certificate."""
    try:
        roots = [one for one in load_pem_x509_certificates(chain.encode()) if one.subject == one.issuer]
        return root_key_sha256(roots[0])
    except (*UNREADABLE, IndexError) as cause:
        raise FormatError("format.collateral", expected="a chain that ends in a root") from cause
