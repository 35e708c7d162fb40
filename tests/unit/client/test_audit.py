"""Which entries `audit show` chooses, and how they read."""

from pathlib import Path

import pytest

from client.audit import About, show
from client.events import LogEntryTold, LogVerified, Noted
from client.log_words import entry_details, entry_summary
from common.crypto.digests import sha256
from common.errors import Refusal
from common.identifiers import JobId, ModelId
from common.messages.decision_log import LogEntry
from common.messages.jobs import AcceptOrder
from common.messages.objects import ModelManifest
from common.messages.signed import sign
from common.messages.tokens import AttestationToken, IssueToken
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld
from tests.fakes.log_keeping import Keeper, identity_directory


class Lived:
    """A broker with two data sets, one job on the first, its model, its grant, and refusals."""

    def __init__(self, directory: Path) -> None:
        self.world = world = BrokerWorld(directory / "world")
        self.data, self.other, bundle = world.register_data(), world.register_data(), world.register_bundle()
        self.job_id = world.start_job(self.data, bundle)
        with pytest.raises(Refusal, match="appraisal.measurement"):
            world.launch(TRAINER, self.job_id, measurement=MEASUREMENTS["query"])
        world.launch(TRAINER, self.job_id)
        model = world.finish(self.job_id)
        self.model_id = ModelManifest.decode(model.payload).model_id
        world.draw(world.launch(QUERY, self.job_id), world.grant(model, answers=3), 3)
        refused = sign(world.order(self.data, bundle, trainers=9), world.owner.key)
        world.reply(AcceptOrder(order=refused, release=world.release))
        self.refused_job = JobId.of(refused.digest)
        world.revoke(world.owner, "dataset", self.data.dataset_id)
        self.keeper = Keeper(world, identity_directory(world, world.owner, directory / "owner"))

    def shown(self, about: About) -> list[LogEntry]:
        events = list(show(self.keeper.party, about, self.keeper.keep("log")))
        assert isinstance(events[0], LogVerified)
        return [event.entry for event in events if isinstance(event, LogEntryTold)]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return Lived(tmp_path_factory.mktemp("audit"))


def words(entries: list[LogEntry]) -> list[tuple[str, str]]:
    return [(entry.decision, entry.code or entry.outcome) for entry in entries]


LIFE = [
    ("accept-order", "recorded"),
    ("admit-launch", "appraisal.measurement"),
    ("admit-launch", "released"),
    ("admit-launch", "released"),
    ("complete-job", "recorded"),
    ("admit-launch", "released"),
    ("draw-budget", "released"),
]


def test_of_a_data_set(lived: Lived) -> None:
    chosen = words(lived.shown(About(dataset=lived.data.dataset_id)))
    assert chosen == [("register-dataset", "recorded"), *LIFE, ("accept-order", "policy.slots"), ("revoke", "revoked")]
    assert words(lived.shown(About(dataset=lived.other.dataset_id))) == [("register-dataset", "recorded")]


def test_of_a_job_with_what_happened_to_its_data(lived: Lived) -> None:
    assert words(lived.shown(About(job=lived.job_id))) == [*LIFE, ("revoke", "revoked")]


def test_of_an_order_that_never_became_a_job(lived: Lived) -> None:
    assert words(lived.shown(About(job=lived.refused_job))) == [("accept-order", "policy.slots")]


def test_of_a_model(lived: Lived) -> None:
    assert words(lived.shown(About(model=lived.model_id))) == LIFE
    nothing = list(show(lived.keeper.party, About(model=ModelId.of(sha256(b"no model"))), lived.keeper.keep("log")))
    assert [type(event) for event in nothing] == [LogVerified, Noted]


def test_of_everything(lived: Lived) -> None:
    assert words(lived.shown(About()))[:2] == [("genesis", "recorded"), ("start", "recorded")]


def test_an_entry_in_words(lived: Lived) -> None:
    by_name = {(entry.decision, entry.code): entry for entry in lived.shown(About())}
    refused, draw = by_name["admit-launch", "appraisal.measurement"], by_name["draw-budget", None]
    assert "admit-launch  refused appraisal.measurement" in entry_summary(refused)
    assert "trainer 0, attempt 1" in entry_summary(refused)
    assert "operator can mend it" in list(entry_details(refused))[-1]
    assert "3 answers" in entry_summary(draw)
    assert any(line.startswith("evidence") for line in entry_details(refused))
    assert not any(line.startswith("measurement") for line in entry_details(refused))


def test_what_is_told_together_and_what_was_said_of_a_launch(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path / "world")
    data, bundle = world.register_data(), world.register_bundle()
    job_id = world.start_job(data, bundle)
    launch = world.launch(TRAINER, job_id)
    token = world.channel().ask(IssueToken(job_id=job_id, launch=launch.signing_key.party), AttestationToken)
    for _ in range(30):
        refused = sign(world.order(data, bundle, trainers=9), world.owner.key)
        world.reply(AcceptOrder(order=refused, release=world.release))
    world.core.rest(world.time)
    keeper = Keeper(world, identity_directory(world, world.owner, tmp_path / "owner"))
    events = list(show(keeper.party, About(dataset=data.dataset_id), keeper.keep("log")))
    shown = [event.entry for event in events if isinstance(event, LogEntryTold)]
    [together] = [entry for entry in shown if entry.further is not None]
    assert "accept-order  refused policy.slots  22 more, told together" in entry_summary(together)
    assert next(iter(entry_details(together))).startswith("the first at ")
    [said] = [entry for entry in shown if entry.decision == "issue-token"]
    assert "issue-token  recorded" in entry_summary(said)
    assert said.subjects.document == sha256(token.token.encode())
    assert any(line.startswith("signed by token key: ") for line in entry_details(said))
    verified = events[0]
    assert isinstance(verified, LogVerified)
    assert verified.refusals_counted == 22
