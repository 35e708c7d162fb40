"""Promise: a recovery key ends its identity and does nothing else, and a replaced or revoked key does nothing at all.

Whoever finds a recovery key, or keeps a key that is over, signs with it every document that the key broker and the
front door know, and sends it in every role.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.errors import Refusal
from common.identifiers import JobId
from common.messages.base import Message
from common.messages.broker_exchange import RequestBody
from common.messages.identity import BindIdentity, IdentityCard, RecoverIdentity, RecoveryStatement
from common.messages.jobs import AcceptOrder, OrderAccepted
from common.messages.ledger import LedgerReply, LedgerRequest, ReadLedger
from common.messages.log_heads import ConfirmHead
from common.messages.policy import DataPolicy, Revocation
from common.messages.registration import Registered
from common.messages.release import ReleaseRevocation
from common.messages.revocation import Revoke, Revoked, RevokeRelease
from common.messages.signed import Signed, sign
from services.attestation.count_record import CountRecord
from tests.fakes.broker_world import QUERY, BrokerWorld, Party, SealedBundle, SealedData
from tests.fakes.identities import Recoverable, bind, recover, replaced, revocation, statement
from tests.fakes.watched_broker import Watched


@dataclass(frozen=True)
class Scene:
    """An owner, its data and model, an approver's key asked for; whose key is at hand is a parameter of the test."""

    world: BrokerWorld
    owner: Recoverable
    approver: Recoverable
    data: SealedData
    bundle: SealedBundle
    job_id: JobId
    model: Signed

    def attempts(self, key: SigningKey) -> dict[str, Callable[[], RequestBody]]:
        """Everything that is signed, by this key, in the name of the owner or in the key's own."""
        world, data, thief = self.world, self.data, Party(_identity_of(key))
        return {
            "a data set": lambda: world.dataset_registration(world.seal_data(thief)),
            "a bundle": lambda: world.bundle_registration(world.seal_bundle(thief)),
            "a policy": lambda: world.policy_update(data, sign(self._next(), key)),
            "an approval": lambda: world.policy_update(data, sign(self._next(), self.owner.key, key)),
            "an order": lambda: self._order(sign(world.order(data, self.bundle), key)),
            "an order in its own name": lambda: self._order(
                sign(world.order(replace(data, owner=thief), self.bundle), key)
            ),
            "a revocation": lambda: Revoke(revocation=sign(self._revocation(self.owner), key)),
            "a revocation in its own name": lambda: Revoke(revocation=sign(self._revocation(thief), key)),
            "a ledger": lambda: self._ledger(self.owner, key),
            "a ledger in its own name": lambda: self._ledger(thief, key),
            "a release's end": lambda: RevokeRelease(
                revocation=sign(ReleaseRevocation(release=world.release.digest, successor=None, created=1), key)
            ),
            "a witness's word": lambda: ConfirmHead(
                witness=key.party, boot_nonce=bytes(32), head=world.head, signature=bytes(64)
            ),
            "a card": lambda: BindIdentity(card=self._card(key, self.approver.recovery.public)),
            "a card of its own": lambda: BindIdentity(card=self._card(key, None)),
        }

    def _next(self) -> DataPolicy:
        data, world = self.data, self.world
        before = world.context.dataset(data.dataset_id).policy_document
        return world.policy_terms(
            self.owner, policy_version=2, previous=before.digest, max_jobs=1000,
            approvers=(self.approver.party,), approvals_needed=1,
        )  # fmt: skip

    def _order(self, signed: Signed) -> AcceptOrder:
        return AcceptOrder(order=signed, release=self.world.release)

    def _revocation(self, party: Party) -> Revocation:
        return Revocation(
            nonce=bytes(16), party=party.party, target="job", identifier=self.job_id,
            broker=self.world.genesis.signing_public, created=1,
        )  # fmt: skip

    def _ledger(self, party: Party, key: SigningKey) -> ReadLedger:
        request = LedgerRequest(
            nonce=secrets.token_bytes(16), party=party.party, dataset_id=self.data.dataset_id,
            broker=self.world.genesis.signing_public,
        )  # fmt: skip
        return ReadLedger(request=sign(request, key))

    def _card(self, key: SigningKey, recovery: object) -> Signed:
        fields = {"party": key.party, "report_key": self.owner.report_key, "recovery": recovery, "created": 2}
        return sign(IdentityCard.model_validate(fields), key)

    def require_nothing(self, key: SigningKey) -> int:
        """Every attempt is refused, and changes nothing; how many there were."""
        before = self._told()
        attempts = self.attempts(key)
        for name, attempt in attempts.items():
            body = attempt()
            with pytest.raises(Refusal) as refused:
                self.world.channel().ask(body, Message)
            assert refused.value.code.split(".")[0] in {"policy", "authenticity", "conflict", "not_found"}, name
        assert self._told() == before
        return len(attempts)

    def _told(self) -> list[Message]:
        """The state but for the log's own count of what it refused."""
        return [one for one in self.world.context.state.all(Message) if not isinstance(one, CountRecord)]


def _identity_of(key: SigningKey) -> Identity:
    made = Identity.generate("thief", unsafe_simulation=True)
    made.signing_key = key
    return made


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    world, owner, approver = BrokerWorld(tmp_path), Recoverable(), Recoverable()
    for party in (owner, approver):
        bind(world, party)
    world.owner = owner
    data = world.register_data(owner, approvers=(approver.party,), approvals_needed=1)
    bundle = world.register_bundle()
    job_id = world.start_job(data, bundle)
    return Scene(world, owner, approver, data, bundle, job_id, world.finish(job_id))


def test_a_recovery_key_signs_nothing_else(scene: Scene) -> None:
    assert scene.require_nothing(scene.owner.recovery._key) >= 14
    enclave = scene.world.launch(QUERY, scene.job_id)
    key = scene.owner.recovery._key
    for grant in (
        scene.world.grant(scene.model, Party(_identity_of(key))),
        scene.world.grant(scene.model, scene.owner, user=key.party),
    ):
        with pytest.raises(Refusal, match=r"policy\.identity|authenticity\.signature"):
            scene.world.draw(enclave, grant)


def test_a_key_that_is_over_signs_nothing(scene: Scene) -> None:
    world = scene.world
    replaced(world, scene.approver)
    assert scene.require_nothing(scene.approver.key) >= 14
    recover(world, revocation(world, scene.owner))
    assert scene.require_nothing(scene.owner.key) >= 14


def test_neither_ends_another_identity(scene: Scene) -> None:
    """A recovery key is its own identity's, and its statement names the one that it was made for."""
    for party in (scene.approver, scene.world.provider):
        word = statement(scene.world, party)
        payload = word.encode()
        signed = sign(word, scene.owner.recovery._key)
        assert signed.payload == payload
        with pytest.raises(Refusal, match=r"authenticity\.signature|not_found\.recovery_key"):
            scene.world.channel().ask(RecoverIdentity(statement=signed), Revoked)


def test_a_statement_is_no_other_document(scene: Scene) -> None:
    """The right signature under the wrong type opens nothing."""
    signed = revocation(scene.world, scene.owner)
    for kind in ("revocation", "data-policy", "training-order", "identity-card"):
        body = Revoke(revocation=signed.model_copy(update={"payload_type": kind}))
        with pytest.raises(Refusal):
            scene.world.channel().ask(body, Revoked)
    assert RecoveryStatement.decode(signed.payload).successor is None


def test_the_identity_goes_on_meanwhile(scene: Scene) -> None:
    """Else the tests above would show nothing: what they try is granted to whom it is due."""
    world, data = scene.world, scene.data
    accepted = world.channel().ask(scene._order(sign(world.order(data, scene.bundle), scene.owner.key)), OrderAccepted)
    assert accepted.trainers == 2
    policy = sign(scene._next(), scene.owner.key, scene.approver.key)
    world.channel().ask(world.policy_update(data, policy), Registered)
    assert world.channel().ask(scene._ledger(scene.owner, scene.owner.key), LedgerReply).sealed
    assert world.draw(world.launch(QUERY, scene.job_id), world.grant(scene.model)).answers == 64


def test_older_states_do_not_bring_a_key_back(tmp_path: Path) -> None:
    """A host that restores the state from before the statement meets its witnesses, who have seen the later one."""
    watched = Watched(tmp_path)
    world, owner = watched.world, Recoverable()
    watched.witness.round()
    with world.attended(watched.identity.signing_key):
        bind(world, owner)
        world.owner = owner
        data, bundle = world.register_data(owner), world.register_bundle()
        earlier = world.store.copy()
        recover(world, revocation(world, owner))
    watched.witness.round()
    world.restart(earlier)
    with pytest.raises(Refusal, match=r"freshness\.state"):
        watched.witness.round()
    with pytest.raises(Refusal, match=r"freshness\.state"):
        world.accept(sign(world.order(data, bundle), owner.key))
