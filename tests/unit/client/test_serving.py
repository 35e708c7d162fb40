"""Promotion, canary and roll-back of a name by its owner, and what a user believes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.context import Party, PinnedTrust
from client.events import GrantSigned, ServingSigned, outcome
from client.granting import GrantTerms, grant
from client.serving import granted_record, promote, read_record, roll_back, served_by, services
from client.user import require_asked
from common.errors import AuthenticityError, ConflictError, FreshnessError, NotFoundError, PolicyError
from common.identifiers import ModelId
from common.messages.objects import ModelManifest
from common.messages.policy import QueryGrant
from common.messages.serving import ServingRecord
from common.messages.signed import Signed, countersign, sign
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.broker_world import Party as BrokerParty
from tests.fakes.operator import Operator, issued, operating


@dataclass
class Serving:
    """An owner with three models, and a user."""

    world: BrokerWorld
    owner: Party
    user: Party
    models: list[ModelId]

    def promote(self, model: int, canary_permille: int = 0) -> ServingSigned:
        """Under the name `digits`."""
        return outcome(promote(self.owner, "digits", self.models[model], canary_permille), ServingSigned)

    def roll_back(self) -> ServingSigned:
        """The same name."""
        return outcome(roll_back(self.owner, "digits"), ServingSigned)

    def stands_for(self, told: ServingSigned) -> tuple[int, int | None, int | None]:
        """Current, previous and canary model, by number."""
        places = {model_id: number for number, model_id in enumerate(self.models)} | {None: None}
        current, *others = (places[one] for one in (told.current, told.previous, told.canary))
        assert current is not None
        return (current, *others)  # type: ignore[return-value]

    def grant(self, directory: Path) -> Signed:
        """For the name."""
        party, user = self.owner, self.user.identity.signing_key.party
        told = outcome(
            grant(party, user, served_by(party, "digits"), GrantTerms(5), directory / "grant.json"), GrantSigned
        )
        assert (told.name, told.model_id) == ("digits", None)
        return Signed.decode((directory / "grant.json").read_bytes())


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    world = BrokerWorld(tmp_path)
    owner, user = (Party.create(tmp_path / name, name, unsafe_simulation=True) for name in ("owner", "user"))
    world.owner = BrokerParty(owner.identity)
    data, bundle, models = world.register_data(), world.register_bundle(), []
    for _ in range(3):
        manifest = world.finish(world.start_job(data, bundle))
        models.append(ModelManifest.decode(manifest.payload).model_id)
        owner.keep_document("models", models[-1], manifest)
    with operating(Operator(world, issued(world.platform.pki))) as operator:
        for party in (owner, user):
            party.pin(
                PinnedTrust(
                    endpoints=operator.endpoints, trust_settings=world.trust, release=world.release,
                    broker=world.genesis,
                )
            )  # fmt: skip
        yield Serving(world, owner, user, models)


def test_a_name_goes_from_model_to_model_and_back(serving: Serving) -> None:
    assert serving.stands_for(serving.promote(0)) == (0, None, None)
    assert serving.stands_for(serving.promote(1)) == (1, 0, None)
    tried = serving.promote(2, 100)
    assert serving.stands_for(tried) == (1, 0, 2)
    assert (tried.number, tried.canary_permille) == (3, 100)
    assert serving.stands_for(serving.roll_back()) == (1, 0, None)
    assert serving.stands_for(serving.roll_back()) == (0, None, None)
    with pytest.raises(ConflictError, match=r"conflict\.serving"):
        serving.roll_back()
    serving.promote(1, 500)
    assert serving.stands_for(serving.promote(1)) == (1, 0, None)


def test_what_the_name_stands_for_is_not_promoted_again(serving: Serving) -> None:
    with pytest.raises(NotFoundError, match=r"not_found\.serving"):
        serving.roll_back()
    with pytest.raises(ConflictError, match=r"conflict\.serving"):
        serving.promote(0, 100)
    serving.promote(0)
    with pytest.raises(ConflictError, match=r"conflict\.serving"):
        serving.promote(0)


def test_each_name_is_listed_as_the_broker_has_it(serving: Serving) -> None:
    serving.promote(0)
    outcome(promote(serving.owner, "other", serving.models[1]), ServingSigned)
    listed = [one for one in services(serving.owner) if isinstance(one, ServingSigned)]
    assert [(one.name, serving.stands_for(one)) for one in listed] == [
        ("digits", (0, None, None)),
        ("other", (1, None, None)),
    ]


def test_of_two_who_sign_the_next_record_one_is_refused(serving: Serving, tmp_path: Path) -> None:
    """The same identity on two machines: what the other did not read it can't undo."""
    serving.promote(0)
    behind = Party(serving.owner.directory)
    steps = promote(behind, "digits", serving.models[2])
    next(steps)  # it has read record 1
    serving.promote(1)
    with pytest.raises(FreshnessError, match=r"freshness\.serving"):
        list(steps)


def test_a_user_reads_what_the_owner_signed_and_nothing_older(serving: Serving, tmp_path: Path) -> None:
    serving.promote(0)
    granted = serving.grant(tmp_path)
    assert QueryGrant.decode(granted.payload).served == served_by(serving.owner, "digits")
    assert granted_record(serving.user, granted).current.model_id == serving.models[0]
    serving.promote(1)
    newest = granted_record(serving.user, granted)
    assert newest.current.model_id == serving.models[1]
    (kept,) = serving.user.documents("servings")
    document = serving.user.document("servings", kept)
    assert document is not None
    later = sign(newest.model_copy(update={"number": 9}), serving.owner.identity.signing_key)
    serving.user.keep_document("servings", kept, later)
    with pytest.raises(FreshnessError, match=r"freshness\.serving"):
        granted_record(serving.user, granted)


def test_a_record_that_not_all_signed_who_signed_the_grant_is_not_believed(serving: Serving, tmp_path: Path) -> None:
    serving.promote(0)
    other = BrokerParty()
    both = countersign(serving.grant(tmp_path), other.key)
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        granted_record(serving.user, both)


def test_a_name_that_stands_for_nothing_is_not_granted(serving: Serving, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"not_found\.serving"):
        serving.grant(tmp_path)


def test_the_record_is_numbered_and_for_this_broker(serving: Serving) -> None:
    serving.promote(0)
    record = read_record(serving.owner, served_by(serving.owner, "digits"))
    assert isinstance(record, ServingRecord)
    assert (record.number, record.broker) == (1, serving.world.genesis.signing_public)


def test_what_is_asked_for_is_what_was_granted() -> None:
    require_asked(None, "digits")
    require_asked("digits", "digits")
    with pytest.raises(PolicyError, match=r"policy\.grant"):
        require_asked("letters", "digits")
