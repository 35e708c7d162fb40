"""Collateral by name, its age, and how it is stored and carried (side: library).

Nothing here is trusted: collateral is signed by Intel and verified wherever a quote is.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.crypto.digests import sha256
from common.identifiers import Digest, Fmspc
from common.messages.base import Count, Message, Seconds
from common.messages.evidence import Collateral

PckCa = Literal["processor", "platform"]
"""Which of Intel's two CAs issued a PCK certificate: the words of the PCS API."""


class CollateralName(Message):
    """What a set of collateral is for."""

    tee: Literal["sgx", "tdx"]
    fmspc: Fmspc
    ca: PckCa

    def __str__(self) -> str:
        return f"{self.tee}-{self.fmspc}-{self.ca}"


class CollateralMark(Message):
    """How new a document is: `evaluation` its tcbEvaluationDataNumber (CRLs: 0), `issued` its issueDate or thisUpdate.

    Neither falls from one issue of a document to the next. `subject` names document and root.
    """

    subject: Annotated[str, Field(max_length=128)]
    evaluation: Count
    issued: Seconds


MAX_MARKS: Final = 1024
"""Intel knows some dozens of FMSPCs."""

Marks = Annotated[tuple[CollateralMark, ...], Field(max_length=MAX_MARKS)]


class SeenCollateral(Message):
    """A verifier's memory: the newest mark of each document that it has accepted."""

    type: Literal["seen-collateral"] = "seen-collateral"
    version: Literal[1] = 1
    marks: Marks

    @property
    def digest(self) -> Digest:
        """What a witness signs of it, and by which it sees that a broker's has changed."""
        return sha256(self.encode())


class StoredCollateral(Message):
    """One file of a host's cache. `obtained`: when it came from `source`, by the host's clock."""

    type: Literal["stored-collateral"] = "stored-collateral"
    version: Literal[1] = 1
    name: CollateralName
    collateral: Collateral
    obtained: Seconds
    source: Annotated[str, Field(max_length=256)]


class CollateralBundle(Message):
    """Collateral for a host that reaches no PCS: a file, carried there."""

    type: Literal["collateral-bundle"] = "collateral-bundle"
    version: Literal[1] = 1
    sets: Annotated[tuple[Collateral, ...], Field(min_length=1, max_length=64)]
