"""The next version of a policy or of a bundle's terms: signed, approved where asked for, brought to the broker (side:
owner).

Where the present version asks for approvals, its party signs a proposal, each approver looks at it on its own machine
and adds its signature, and the party sends what came back. The broker counts; nothing here decides.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from client import events as e
from client.broker import BrokerLink
from client.context import Party
from client.policies import explained
from client.policy_events import PolicyToApprove
from client.policy_terms import (
    PolicyTerms,
    ProviderTerms,
    Thing,
    chosen_terms,
    keep_policy,
    newest_policy,
    policy_version,
    read_terms,
    sign_policy,
    sign_terms,
    wrap_policy,
)
from client.policy_words import Assumed
from common.errors import ConflictError
from common.identifiers import BundleId, DatasetId
from common.messages.registration import Registered, UpdatePolicy, UpdateTerms
from common.messages.signed import Signed, countersign, open_signed


def next_policy(party: Party, thing: Thing, terms: PolicyTerms | ProviderTerms) -> Signed:
    """The next version, signed by its party. Raises `NotFoundError` for a data set or bundle of another directory."""
    newest = newest_policy(party, thing)
    chained = terms.under(party.trust.release.digest)
    if isinstance(chained, PolicyTerms):
        return sign_policy(party, chained, newest)
    return sign_terms(party, chained, newest)


def send_policy(party: Party, thing: Thing, policy: Signed) -> Iterator[e.Event]:
    """Bring a version to the broker. Ends with `PolicySigned`: it is in force."""
    link = BrokerLink(party)
    yield link.verify()
    wrapped = wrap_policy(party, policy)
    if isinstance(thing, BundleId):
        link.ask(UpdateTerms(bundle_id=thing, digest=policy.digest, terms=wrapped), Registered)
    else:
        link.ask(UpdatePolicy(dataset_id=thing, digest=policy.digest, policy=wrapped), Registered)
    keep_policy(party, thing, policy)
    yield e.PolicySigned(
        dataset_id=None if isinstance(thing, BundleId) else thing,
        bundle_id=thing if isinstance(thing, BundleId) else None,
        digest=policy.digest,
        policy_version=policy_version(policy),
    )


def return_to_version(party: Party, dataset_id: DatasetId, version: int) -> bool:
    """The stored policy is this version again, because later ones are void at the broker; whether it is known here."""
    held = party.document("policies", dataset_id)
    while held is not None and policy_version(held) > version:
        previous = read_terms(held).previous
        held = None if previous is None else party.document("versions", previous)
    if held is None or policy_version(held) != version:
        return False
    party.keep_document("policies", dataset_id, held)
    return True


def propose(party: Party, thing: Thing, terms: PolicyTerms | ProviderTerms, destination: Path) -> Iterator[e.Event]:
    """Write the next version for its approvers. Ends with `PolicyToApprove`; nothing is in force."""
    policy = next_policy(party, thing, terms)
    destination.write_bytes(policy.encode())
    yield _to_approve(policy, destination)


def approve(party: Party, proposal: Path, destination: Path) -> Iterator[e.Event]:
    """Say what a proposal says, then add this party's signature to it. Ends with `PolicyToApprove`.

    Raises `AuthenticityError` unless the party that it names, and everybody else who signed it, signed this very text.
    """
    signed = Signed.decode(proposal.read_bytes())
    terms = read_terms(signed)
    open_signed(signed, type(terms), [terms.party])
    yield explained(str(proposal), chosen_terms(signed), Assumed())
    approved = countersign(signed, party.identity.signing_key)
    destination.write_bytes(approved.encode())
    yield _to_approve(approved, destination)


def submit_approved(party: Party, thing: Thing, copies: Sequence[Path]) -> Iterator[e.Event]:
    """Bring a proposal to the broker with the signatures of all its copies. Ends with `PolicySigned`."""
    yield from send_policy(party, thing, joined([Signed.decode(path.read_bytes()) for path in copies]))


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
