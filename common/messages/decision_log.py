"""The key broker's decision log: what an entry says, how it is served, what an auditor keeps (side: library).

An entry says what was decided, about which documents (by digest) and things (by identifier), for whom and on what
evidence; never what a policy says, what was expected of a refused request, or anything else that the host does not
carry in the clear. The tree's leaf is not the entry but a commitment to it (`common/transparency.log_leaf`): everybody
checks the whole tree, and reads the entries that concern him.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import BundleId, CodeMeasurement, DatasetId, Digest, GrantId, JobId, ModelId, PartyKey, RoleName
from common.messages.base import Count, Message, Seconds
from common.messages.log_heads import LogHead
from common.messages.signed import Signed

DecisionName = Literal[
    "genesis",
    "start",
    "register-dataset",
    "register-bundle",
    "update-policy",
    "accept-order",
    "admit-launch",
    "renew-lease",
    "issue-token",
    "appraise-evidence",
    "keep-checkpoint",
    "complete-job",
    "draw-budget",
    "revoke",
    "retire-bundle",
    "set-serving",
    "revoke-release",
    "take-inventory",
    "bind-identity",
    "recover-identity",
    "witness-peer",
    "recover-dataset",
    "handover",
    "other-request",
]
"""`renew-lease` is refused, or recorded: where nothing else told the witnesses since the launch's last lease, or with
newer collateral; all others together (`Further`). `other-request` is what was refused and is nobody's: of strangers,
malformed, while frozen."""
Outcome = Literal["recorded", "released", "revoked", "refused"]
"""`released`: keys or answers, which left the broker now or later, or never, where no witness confirmed it."""

Hash = Annotated[bytes, Field(min_length=32, max_length=32)]
ProofPath = Annotated[tuple[Hash, ...], Field(max_length=128)]

MAX_ENTRY_BYTES: Final = 1 << 16
MAX_LEAF_BYTES: Final = 1 << 12
MAX_BUNDLE_BYTES: Final = 1 << 30
MAX_HEAD_REPLY_BYTES: Final = 1 << 14
"""A signed head in a signed reply takes a tenth of it."""


class LogSubjects(Message):
    """What a decision was about; what does not apply is absent.

    `parties` are all whom it concerns: owners, provider, user; they may read the entry. `signers` are those among them
    whose signature asked for it. `document` is the digest of the signed document that was decided on, `evidence` the
    SHA-256 of the quote. `measurement` is that of a verified quote: a refused launch has none. `policies` and `terms`
    are the versions in force. `predecessor` is the genesis digest of a broker that is over, `continues` the newest head
    of its log that its witnesses know. Of a handover, `measurement` is the broker's own, `heir` that of its successor.
    Of an attestation result, `document` is the SHA-256 of the token as it left, `token_key` the RFC 7638 thumbprint of
    the key that signed it (its `kid`), `launch` the key that it confirms (`cnf`).
    """

    parties: Annotated[tuple[PartyKey, ...], Field(max_length=72)] = ()
    signers: Annotated[tuple[PartyKey, ...], Field(max_length=64)] = ()
    document: Digest | None = None
    datasets: Annotated[tuple[DatasetId, ...], Field(max_length=64)] = ()
    policies: Annotated[tuple[Digest, ...], Field(max_length=64)] = ()
    bundle: BundleId | None = None
    terms: Digest | None = None
    job: JobId | None = None
    model: ModelId | None = None
    grant: GrantId | None = None
    release: Digest | None = None
    role: RoleName | None = None
    slot: Count | None = None
    attempt: Count | None = None
    launch: PartyKey | None = None
    measurement: CodeMeasurement | None = None
    evidence: Digest | None = None
    answers: Count | None = None
    job_outcome: Literal["finished", "failed"] | None = None
    boot_nonce: Hash | None = None
    predecessor: Digest | None = None
    continues: LogHead | None = None
    heir: CodeMeasurement | None = None
    token_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")] | None = None


class Further(Message):
    """How many decisions one entry tells of together, and when the first and the last of them came."""

    count: Annotated[int, Field(ge=1, le=1 << 48)]
    first: Seconds
    last: Seconds


class LogEntry(Message):
    """One decision. `number` is its place in the log; `salt` hides what is not told from who could guess the rest.

    With `further` it tells of several, beyond those with entries of their own; `subjects` is what they have in common.
    """

    type: Literal["log-entry"] = "log-entry"
    version: Literal[1] = 1
    number: Count
    epoch: Count
    time: Seconds
    salt: Annotated[bytes, Field(min_length=16, max_length=16)]
    decision: DecisionName
    outcome: Outcome
    code: Annotated[str, Field(pattern=r"^[a-z_]{1,32}\.[a-z_]{1,32}$")] | None = None
    subjects: LogSubjects
    further: Further | None = None

    @model_validator(mode="after")
    def _require_code_of_refusals_alone(self) -> Self:
        if (self.outcome == "refused") != (self.code is not None):
            raise ValueError("a refusal has a code, and nothing else has")
        return self


class TreeHead(Message):
    """The broker's word about its whole log, signed by its signing key. `broker` is its genesis digest.

    `refusals_counted` are those of this epoch that got no entry of their own (services/attestation/refusal_log says
    which): entries with `further` tell of them, or will.
    """

    type: Literal["tree-head"] = "tree-head"
    version: Literal[1] = 1
    broker: Digest
    head: LogHead
    time: Seconds
    refusals_counted: Count


class LogItem(Message):
    """A leaf, and the entry behind it for those whom it concerns."""

    leaf: Annotated[bytes, Field(max_length=MAX_LEAF_BYTES)]
    entry: Annotated[bytes, Field(max_length=MAX_ENTRY_BYTES)] | None = None


class LogPage(Message):
    """Leaves from number `first` on; `size` is how many the host has stored."""

    type: Literal["log-page"] = "log-page"
    version: Literal[1] = 1
    first: Count
    size: Count
    items: Annotated[tuple[LogItem, ...], Field(max_length=1024)]


class InclusionProof(Message):
    """RFC 9162 section 2.1.3: leaf `number` is in the tree of `size` leaves."""

    type: Literal["inclusion-proof"] = "inclusion-proof"
    version: Literal[1] = 1
    number: Count
    size: Count
    path: ProofPath


class ConsistencyProof(Message):
    """RFC 9162 section 2.1.4: the tree of `size` leaves begins with the tree of `earlier` leaves."""

    type: Literal["consistency-proof"] = "consistency-proof"
    version: Literal[1] = 1
    earlier: Count
    size: Count
    path: ProofPath


class NextHead(Message):
    """What the host answers a witness that waits: the enclave's Signed BrokerReply to its `await-head`, byte for byte.

    `proof` goes from the size that the witness knows to that of the reply's head; absent where the log did not grow.
    """

    type: Literal["next-head"] = "next-head"
    version: Literal[1] = 1
    reply: Annotated[bytes, Field(max_length=MAX_HEAD_REPLY_BYTES)]
    proof: ConsistencyProof | None = None


class AuditBundle(Message):
    """All that is wanted to verify a log offline: a signed tree head, and every leaf below it."""

    type: Literal["audit-bundle"] = "audit-bundle"
    version: Literal[1] = 1
    head: Signed
    items: tuple[LogItem, ...]
