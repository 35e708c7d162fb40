"""Whether a job's model is answered in int8, and what its owner is told of that (side: enclave).

Holds: nothing.  Reads: the findings of slot 0, unread until the clock is over.  Sends: nothing; they go into the sealed
model and into the last report.

The findings count if they are of this very document, which was checked, and of the state that is sealed; whether int8
costs too much is judged here, by the order. Whatever comes of it, the sealed model has the same size.
"""

from dataclasses import dataclass
from typing import Self

from common.crypto.digests import sha256
from common.errors import FormatError
from common.exchange.payloads import Buffer, StateP, encode_state
from common.exchange.quantised import Quantised
from common.messages.order import AnswerTerms
from common.messages.policy import Int8Told
from common.sandboxed.quantised_layout import Finding, Findings


@dataclass(frozen=True)
class Verdict:
    """`sealed`: what the model has of it. Both are None where int8 was not ordered."""

    sealed: Findings | None = None
    told: Int8Told | None = None

    @classmethod
    def of(cls, terms: AnswerTerms, findings: Findings) -> Self:
        """By the owner's bound."""
        judged = findings.finding is Finding.JUDGED
        kept = judged and findings.float32_percent - findings.int8_percent <= terms.most_drop_points
        told = Int8Told.model_validate({
            "kept": kept, "finding": findings.finding.name.lower(), "rows": findings.rows,
            "float32_percent": findings.float32_percent if judged else None,
            "int8_percent": findings.int8_percent if judged else None,
        })  # fmt: skip
        return cls(findings if kept else Findings(Finding.NOTHING), told)

    @classmethod
    def of_payload(
        cls, terms: AnswerTerms, payload: Buffer | None, document: bytes | None, state_P: StateP | None
    ) -> Self:
        """Of a QUANTISED payload. `document`: as its writer said it, if it stands the checks; `state_P`: sealed.

        No document: there is nothing to compute in int8. What is of another document or state, or no payload, is late.
        """
        if document is None:
            return cls.of(terms, Findings(Finding.NO_GRAPH))
        try:
            quantised = None if payload is None else Quantised.parse(payload)
        except FormatError:
            return cls.of(terms, Findings(Finding.FAILED))
        if quantised is None or state_P is None:
            return cls.of(terms, Findings(Finding.LATE))
        own = sha256(document), sha256(encode_state(state_P))
        late = own != (quantised.document, quantised.state)
        return cls.of(terms, Findings(Finding.LATE) if late else quantised.findings)
