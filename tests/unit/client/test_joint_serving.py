"""A name for models of two owners: one drafts its record, both sign it, and each looks at what it says first."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from client import joint, joint_serving
from client import joint_events as j
from client.context import Party, PinnedTrust
from client.events import GrantSigned, ServingSigned, outcome
from client.granting import GrantTerms, grant
from client.rendering import Terminal
from client.serving import granted_record, promote, read_record, served_by
from common.crypto.digests import sha256
from common.errors import AuthenticityError, ConflictError, NotFoundError, PolicyError
from common.identifiers import ModelId, PartyKey
from common.messages.objects import ModelManifest
from common.messages.serving import ServedModel, ServingRecord
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.broker_world import Party as BrokerParty
from tests.fakes.operator import Operator, issued, operating


@dataclass
class Owners:
    """Two owners of two models, and a user."""

    parties: list[Party]
    user: Party
    models: list[ModelId]
    file: Path

    @property
    def keys(self) -> tuple[PartyKey, ...]:
        return tuple(party.identity.signing_key.party for party in self.parties)

    def draft(self, model: int = 0, canary_permille: int = 0) -> j.JointlySigned:
        self.file.unlink(missing_ok=True)
        steps = joint_serving.draft_promotion(self.parties[0], "digits", self.models[model], canary_permille, self.file)
        return outcome(steps, j.JointlySigned)

    def agree(self) -> j.JointlySigned:
        return outcome(joint_serving.agree_name(self.parties[1], self.file, self.file), j.JointlySigned)

    def submit(self) -> ServingSigned:
        return outcome(joint_serving.submit_name(self.parties[1], [self.file]), ServingSigned)

    def changed(self, **changes: object) -> None:
        """The drafter signs another record into the file."""
        record = ServingRecord.decode(Signed.decode(self.file.read_bytes()).payload).model_copy(update=changes)
        self.file.write_bytes(sign(record, self.parties[0].identity.signing_key).encode())


@pytest.fixture
def owners(tmp_path: Path) -> Iterator[Owners]:
    world = BrokerWorld(tmp_path)
    first, second, user = (
        Party.create(tmp_path / name, name, unsafe_simulation=True) for name in ("first", "second", "user")
    )
    world.owner, other = BrokerParty(first.identity), BrokerParty(second.identity)
    bundle, models = world.register_bundle(), []
    for _ in range(2):
        data = [world.register_data(), world.register_data(owner=other)]
        order = sign(world.order(data, bundle), world.owner.key, other.key)
        job_id = world.accept(order).job_id
        manifest = world.finish(job_id)
        models.append(ModelManifest.decode(manifest.payload).model_id)
        for party in (first, second):
            party.keep_document("orders", job_id, order)
            party.keep_document("models", models[-1], manifest)
    with operating(Operator(world, issued(world.platform.pki))) as operator:
        pinned = PinnedTrust(
            endpoints=operator.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
        )
        for party in (first, second, user):
            party.pin(pinned)
        yield Owners([first, second], user, models, tmp_path / "name.json")


def test_a_name_of_a_joint_model_is_all_its_owners_word(owners: Owners) -> None:
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        list(promote(owners.parties[0], "digits", owners.models[0], warm=False))
    assert owners.draft().missing == (owners.keys[1],)
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        owners.submit()
    assert owners.agree().missing == ()
    assert (owners.submit().current, owners.submit().number) == (owners.models[0], 1)
    owners.draft(1, canary_permille=250)
    owners.agree()
    tried = owners.submit()
    assert (tried.current, tried.canary, tried.canary_permille) == (*owners.models, 250)
    owners.file.unlink()
    list(joint_serving.draft_roll_back(owners.parties[0], "digits", owners.file))
    owners.agree()
    assert (owners.submit().canary, owners.submit().number) == (None, 3)


def test_a_user_asks_by_a_grant_that_all_have_signed(owners: Owners, tmp_path: Path) -> None:
    owners.draft()
    owners.agree()
    owners.submit()
    file, served = tmp_path / "grant.json", served_by(owners.parties[0], "digits")
    user = owners.user.identity.signing_key.party
    outcome(grant(owners.parties[0], user, served, GrantTerms(5), file), GrantSigned)
    told = list(joint.agree_grant(owners.parties[1], file, file))
    shown = next(one for one in told if isinstance(one, j.JointGrant))
    assert (shown.name, shown.model_id, shown.answers) == ("digits", owners.models[0], 5)
    assert outcome(iter(told), j.JointlySigned).missing == ()
    granted = Signed.decode(file.read_bytes())
    assert granted_record(owners.user, granted).current.model_id == owners.models[0]


def test_each_sees_what_the_name_shall_stand_for(owners: Owners) -> None:
    owners.draft()
    owners.agree()
    owners.submit()
    owners.draft(1, canary_permille=100)
    shown = io.StringIO()
    terminal = Terminal(Console(file=shown, width=300, highlight=False))
    for event in joint_serving.agree_name(owners.parties[1], owners.file, owners.file):
        terminal.show(event)
    terminal.close()
    assert all(word in shown.getvalue() for word in ("digits", "record 2", *owners.models, "100 of 1000"))


def test_what_this_owner_does_not_know_or_own_is_not_signed(owners: Owners, tmp_path: Path) -> None:
    owners.draft()
    before = owners.file.read_bytes()
    for changes, error, code in (
        ({"broker": PartyKey("ab" * 32)}, PolicyError, r"policy\.broker"),
        ({"current": ServedModel(model_id=owners.models[0], manifest=sha256(b"other"))}, PolicyError, r"policy\.grant"),
        (
            {"current": ServedModel(model_id=ModelId.of(sha256(b"unseen")), manifest=sha256(b"other"))},
            NotFoundError,
            r"not_found\.model",
        ),
    ):
        owners.file.write_bytes(before)
        owners.changed(**changes)
        with pytest.raises(error, match=code):
            owners.agree()
    owners.file.write_bytes(before)
    stranger = Party.create(tmp_path / "stranger", "stranger", unsafe_simulation=True)
    stranger.pin(owners.parties[1].trust)
    for kind in ("models", "orders"):
        for name in owners.parties[1].documents(kind):
            document = owners.parties[1].document(kind, name)
            assert document is not None
            stranger.keep_document(kind, name, document)
    with pytest.raises(PolicyError, match=r"policy\.signer"):
        list(joint_serving.agree_name(stranger, owners.file, tmp_path / "signed.json"))
    with pytest.raises(ConflictError, match=r"conflict\.order_file"):
        list(joint_serving.draft_promotion(owners.parties[0], "digits", owners.models[1], 0, owners.file))


def test_another_text_than_the_drafter_signed_is_refused(owners: Owners) -> None:
    owners.draft()
    signed = Signed.decode(owners.file.read_bytes())
    record = ServingRecord.decode(signed.payload).model_copy(update={"number": 7})
    owners.file.write_bytes(signed.model_copy(update={"payload": record.encode()}).encode())
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        owners.agree()
    owners.draft()
    owners.agree()
    owners.submit()
    assert read_record(owners.parties[1], served_by(owners.parties[0], "digits")).number == 1
