"""Events of policies: what was checked, what it says, what a change changes or would have, what left (side: owner)."""

from typing import Literal

from client.events import Event
from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.messages.base import Count, Message
from common.messages.decision_log import LogEntry
from common.messages.ledger import Ledger

Verdict = Literal["same", "refused", "allowed", "unjudged"]


class LedgerRead(Event):
    """What a data set was charged for, as the broker's enclave counted it."""

    type: Literal["ledger-read"] = "ledger-read"
    dataset_id: DatasetId
    ledger: Ledger
    bits: Count


class PolicyProblem(Event):
    """Something that is wrong in a policy file, and where; lines and columns count from 1."""

    type: Literal["policy-problem"] = "policy-problem"
    file: str
    line: Count
    column: Count
    field: str
    expected: str
    seen: str


class PolicyChecked(Event):
    """A file that is a policy. `hints` are things that are allowed and probably not meant."""

    type: Literal["policy-checked"] = "policy-checked"
    file: str
    kind: Literal["data", "bundle"]
    hints: tuple[str, ...]


class PolicyExplained(Event):
    """A policy in plain English. Bits are None where they depend on what was not said (classes, ticks)."""

    type: Literal["policy-explained"] = "policy-explained"
    subject: str
    sentences: tuple[str, ...]
    bits_per_answer: Count | None
    answer_bits: Count | None
    attempt_bits: Count | None
    report_bits: Count
    max_bits: Count | None
    bits: Count | None


class PolicyCompared(Event):
    """What a new version changes; `otherwise` is neither wider nor narrower."""

    type: Literal["policy-compared"] = "policy-compared"
    old: str
    new: str
    becomes_possible: tuple[str, ...]
    stops: tuple[str, ...]
    otherwise: tuple[str, ...]


class TrialReason(Message):
    """Why tried terms refuse: the code, and the field of the terms that says so."""

    code: str
    field: str
    expected: str | None
    seen: str | None


class DecisionTried(Event):
    """A past decision that would differ, or that can't be judged (client/policy_trial).

    `after`: number of the entry of the order or launch without which there would have been nothing to decide on;
    `missing`: what is not held.
    """

    type: Literal["decision-tried"] = "decision-tried"
    verdict: Verdict
    entry: LogEntry
    reasons: tuple[TrialReason, ...]
    after: Count | None
    missing: tuple[str, ...]


class PolicyTried(Event):
    """How many past decisions would differ; `missing` counts the decisions that each thing which is not held leaves."""

    type: Literal["policy-tried"] = "policy-tried"
    policy: str
    subject: DatasetId | BundleId
    same: Count
    refused: Count
    allowed: Count
    unjudged: Count
    missing: dict[str, Count]


class PolicyToApprove(Event):
    """A signed version that is not in force: it wants the signatures of approvers."""

    type: Literal["policy-to-approve"] = "policy-to-approve"
    digest: Digest
    policy_version: Count
    signers: tuple[PartyKey, ...]
    path: str
