"""A TPM's counter as a witness of the key broker: what is pinned of it, and what it proves (side: library).

Whoever carries these between TPM and broker is trusted with nothing: the broker's enclave checks all of it.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import Digest
from common.messages.base import Count, Message

MAX_STEPS: Final = 32
"""Of one message; a carrier that has more sends several."""

NvIndex = Annotated[int, Field(ge=0x01000000, le=0x01FFFFFF)]
"""An NV handle (TPM 2.0 Part 2, TPM_HT_NV_INDEX)."""


class TpmCounter(Message):
    """One counter of one TPM, as it is pinned.

    `endorsement_key`: SHA-256 of the TPMT_PUBLIC of the TPM's EK (ECC, template L-2). `value`: what the counter has
    when the broker is made, as its host says; steps before it say nothing about this broker.
    """

    type: Literal["tpm-counter"] = "tpm-counter"
    version: Literal[1] = 1
    endorsement_key: Digest
    index: NvIndex
    value: Count


class CounterStep(Message):
    """The counter went from `value` to `value` + 1 for the head of this size and root (common/tpm/steps).

    `attested` is a TPMS_ATTEST, `signature` the TPMT_SIGNATURE over it.
    """

    value: Count
    size: Count
    root: Digest
    attested: Annotated[bytes, Field(max_length=512)]
    signature: Annotated[bytes, Field(max_length=128)]


class MeetTpm(Message):
    """Answer: TpmChallenge. The two public areas (TPMT_PUBLIC) of a TPM that the genesis names.

    The same areas get the same secret as long as the broker lives: nobody can take it away from another.
    """

    type: Literal["meet-tpm"] = "meet-tpm"
    endorsement_key: Annotated[bytes, Field(max_length=256)]
    attestation_key: Annotated[bytes, Field(max_length=256)]


class TpmChallenge(Message):
    """For TPM2_ActivateCredential: contents of its two parameters. What comes out goes back as `activation`."""

    type: Literal["tpm-challenge"] = "tpm-challenge"
    credential: Annotated[bytes, Field(max_length=256)]
    secret: Annotated[bytes, Field(max_length=256)]


class ConfirmByCounter(Message):
    """Answer: Confirmed. Steps in the order of their values; known ones may come again."""

    type: Literal["confirm-by-counter"] = "confirm-by-counter"
    endorsement_key: Digest
    attestation_key: Annotated[bytes, Field(max_length=256)]
    activation: Annotated[bytes, Field(min_length=32, max_length=32)]
    steps: Annotated[tuple[CounterStep, ...], Field(max_length=MAX_STEPS)]
