"""The next version of a data set's policy: signed, approved where asked for, brought to the broker (side: owner).

Where the present version asks for approvals, the owner signs a proposal, each approver looks at it on its own machine
and adds its signature, and the owner sends what came back. The broker counts; nothing here decides.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from client import events as e
from client.broker import BrokerLink
from client.context import Party
from client.policies import explained
from client.policy_events import PolicyToApprove
from client.policy_terms import PolicyTerms, keep_policy, policy_version, sign_policy, wrap_policy
from client.policy_words import Assumed
from common.errors import ConflictError, NotFoundError
from common.identifiers import DatasetId
from common.messages.attestation import Registered, UpdatePolicy
from common.messages.policy import DataPolicy
from common.messages.signed import Signed, countersign, open_signed


def next_policy(party: Party, dataset_id: DatasetId, terms: PolicyTerms) -> Signed:
    """The next version, signed by the owner. Raises `NotFoundError` for a data set of another directory."""
    newest = party.document("policies", dataset_id)
    if newest is None:
        raise NotFoundError("not_found.dataset", expected="a data set that was uploaded from this identity directory")
    releases = terms.releases or (party.trust.release.digest,)
    return sign_policy(party, terms.model_copy(update={"releases": releases}), newest)


def send_policy(party: Party, dataset_id: DatasetId, policy: Signed) -> Iterator[e.Event]:
    """Bring a version to the broker. Ends with `PolicySigned`: it is in force."""
    link = BrokerLink(party)
    yield link.verify()
    update = UpdatePolicy(dataset_id=dataset_id, digest=policy.digest, policy=wrap_policy(party, policy))
    link.ask(update, Registered)
    keep_policy(party, dataset_id, policy)
    yield e.PolicySigned(dataset_id=dataset_id, digest=policy.digest, policy_version=policy_version(policy))


def return_to_version(party: Party, dataset_id: DatasetId, version: int) -> bool:
    """The stored policy is this version again, because later ones are void at the broker; whether it is known here."""
    held = party.document("policies", dataset_id)
    while held is not None and policy_version(held) > version:
        previous = DataPolicy.decode(held.payload).previous
        held = None if previous is None else party.document("versions", previous)
    if held is None or policy_version(held) != version:
        return False
    party.keep_document("policies", dataset_id, held)
    return True


def propose(party: Party, dataset_id: DatasetId, terms: PolicyTerms, destination: Path) -> Iterator[e.Event]:
    """Write the next version for its approvers. Ends with `PolicyToApprove`; nothing is in force."""
    policy = next_policy(party, dataset_id, terms)
    destination.write_bytes(policy.encode())
    yield _to_approve(policy, destination)


def approve(party: Party, proposal: Path, destination: Path) -> Iterator[e.Event]:
    """Say what a proposal says, then add this party's signature to it. Ends with `PolicyToApprove`.

    Raises `AuthenticityError` unless the owner that it names, and everybody else who signed it, signed this very text.
    """
    signed = Signed.decode(proposal.read_bytes())
    owner = DataPolicy.decode(signed.payload).owner
    policy = open_signed(signed, DataPolicy, [owner])
    yield explained(str(proposal), PolicyTerms.of(policy), Assumed())
    approved = countersign(signed, party.identity.signing_key)
    destination.write_bytes(approved.encode())
    yield _to_approve(approved, destination)


def submit_approved(party: Party, dataset_id: DatasetId, copies: Sequence[Path]) -> Iterator[e.Event]:
    """Bring a proposal to the broker with the signatures of all its copies. Ends with `PolicySigned`."""
    yield from send_policy(party, dataset_id, joined([Signed.decode(path.read_bytes()) for path in copies]))


def joined(copies: Sequence[Signed]) -> Signed:
    """One document with the signatures of all. Raises `ConflictError` where the documents are not the same."""
    first = copies[0]
    if any((one.payload_type, one.payload) != (first.payload_type, first.payload) for one in copies):
        raise ConflictError("conflict.registered", expected=first.digest, seen=[one.digest for one in copies])
    signatures = {one.signer: one for copy in copies for one in copy.signatures}
    return first.model_copy(update={"signatures": tuple(signatures.values())})


def _to_approve(policy: Signed, path: Path) -> PolicyToApprove:
    return PolicyToApprove(
        digest=policy.digest,
        policy_version=policy_version(policy),
        signers=tuple(one.signer for one in policy.signatures),
        path=str(path),
    )
