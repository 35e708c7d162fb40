"""Who may read why something was refused (side: enclave).

A refusal's code is public. What was expected and seen may quote a party's terms, so it is wrapped to that party alone,
and only where its signature was checked before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import CloisterError, Refusal
from common.identifiers import PartyKey
from common.messages.policy import BundleTerms, DataPolicy


class EntitledRefusal(CloisterError):
    """A refusal whose details belong to `party`, who reads them with `report_key`."""

    def __init__(self, refusal: Refusal, party: PartyKey, report_key: bytes) -> None:
        super().__init__(str(refusal))
        self.refusal, self.party, self.report_key = refusal, party, report_key


@contextmanager
def entitled(terms: DataPolicy | BundleTerms) -> Iterator[None]:
    """Details of refusals raised inside belong to the party whose (verified) terms these are."""
    party = terms.owner if isinstance(terms, DataPolicy) else terms.provider
    try:
        yield
    except Refusal as refusal:
        raise EntitledRefusal(refusal, party, terms.report_key) from refusal
