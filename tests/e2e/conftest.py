"""One real stack for a session, left by a demo, and parties that are made afresh."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from client import events as e
from client import granting, ordering, owner, provider
from client.context import Endpoints, Party
from client.digits import DigitsFiles, write_digits
from client.measuring import digest_cache, measure_roles
from client.pinning import pin
from client.policy_terms import PolicyTerms, ProviderTerms
from client.scheduling import WARMUP_SECONDS, ScheduleWishes
from client.stack_access import endpoints_of, read_trust_settings
from common.enclave.trust_settings import TrustSettings
from common.identifiers import JobId
from common.messages.order import TrainingOrder
from common.messages.policy import QueryGrant
from common.messages.signed import Signed, sign
from deploy.embedded.processes import descendants_of, start_times
from deploy.embedded.stack import EmbeddedStack
from tests.e2e.command_process import cloister, naming

TINY = ScheduleWishes(rounds=2, steps=4, batch=16, tick_milliseconds=100, slack_percent=300)
"""A job that ends soon and learns little."""


@dataclass(frozen=True)
class RunningStack:
    """A stack that is up, and what a party needs of it."""

    state: Path
    stack: EmbeddedStack
    trust_settings: TrustSettings
    measured: tuple[e.RoleMeasured, ...]

    @property
    def endpoints(self) -> Endpoints:
        return endpoints_of(self.stack.status())


@dataclass(frozen=True)
class DemoRun:
    """What `cloister demo --keep` left: a stack that is up, its parties' directories and its figures."""

    stack: EmbeddedStack
    figures: dict[str, Any]
    output: str

    @property
    def directory(self) -> Path:
        (directory,) = (self.stack.state.root / "demo").iterdir()
        return directory

    def party(self, name: str) -> Party:
        return Party(self.directory / "parties" / name)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoRun]:
    """One demo for the whole session: the other tests meet the services and the model that it leaves."""
    place = tmp_path_factory.mktemp("stack")
    state, figures = place / "state", place / "figures.json"
    shown = cloister("demo", "--keep", "--state", state, "--json", figures)
    stack = EmbeddedStack(state)
    try:
        yield DemoRun(stack, json.loads(figures.read_bytes()), shown)
    finally:
        guardian = stack.status().guardian_pid
        members = {} if guardian is None else start_times([guardian, *descendants_of(guardian)])
        cloister("down", "--state", state)
        cloister("clean", "--state", state)
        assert start_times(members).items() & members.items() == set()
        assert naming(state) == []
        assert not state.exists()


@pytest.fixture(scope="session")
def stack(demo: DemoRun) -> RunningStack:
    """All services, private to this session."""
    trust_settings = read_trust_settings(demo.stack.state.root)
    measured = tuple(measure_roles(trust_settings, digest_cache()))
    return RunningStack(demo.stack.state.root, demo.stack, trust_settings, measured)


MakeParty = Callable[[str], Party]


@pytest.fixture(scope="session")
def make_party(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> MakeParty:
    """Makes an enrolled party that has pinned the stack."""
    home, numbers = tmp_path_factory.mktemp("parties"), itertools.count()

    def make(name: str) -> Party:
        party = Party.create(home / f"{name}-{next(numbers)}", name, unsafe_simulation=True)
        events = pin(party, stack.endpoints, stack.trust_settings, measured=stack.measured)
        assert e.outcome(events, e.Pinned).stored
        return party

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DigitsFiles:
    """scikit-learn's digits, split."""
    return write_digits(tmp_path_factory.mktemp("digits"))


@dataclass(frozen=True)
class Published:
    """A provider with its published bundle."""

    party: Party
    bundle: e.BundleRegistered


@pytest.fixture(scope="session")
def published(demo: DemoRun) -> Published:
    """The example bundle as the demo published it: to publish it again changes nothing and tells its names."""
    party, packed = demo.party("provider"), demo.directory / "bundle.sealed"
    told = provider.publish(party, packed, ProviderTerms())
    return Published(party, e.outcome(told, e.BundleRegistered))


def publish(party: Party, source: Path, directory: Path) -> Published:
    """Pack and publish a provider's directory."""
    e.outcome(provider.pack(party, source, directory), e.Sealed)
    return Published(party, e.outcome(provider.publish(party, directory, ProviderTerms()), e.BundleRegistered))


@dataclass(frozen=True)
class Registered:
    """An owner with a registered data set that only `published` may train on."""

    party: Party
    dataset: e.DatasetRegistered


@pytest.fixture
def registered(make_party: MakeParty, published: Published, digits: DigitsFiles, tmp_path: Path) -> Registered:
    """Digits, sealed, uploaded, and allowed for the example bundle."""
    return register(make_party("owner"), published, digits.train, tmp_path / "sealed")


def register(party: Party, published: Published, source: Path, directory: Path, max_jobs: int = 4) -> Registered:
    """Seal, upload and allow."""
    e.outcome(owner.seal(party, source, directory), e.Sealed)
    dataset = e.outcome(owner.upload(party, directory), e.DatasetRegistered)
    terms = PolicyTerms(
        providers=(published.party.identity.signing_key.party,), max_jobs=max_jobs, answers_total=10_000
    )
    e.outcome(owner.set_policy(party, dataset.dataset_id, terms), e.PolicySigned)
    return Registered(party, dataset)


@dataclass(frozen=True)
class Ordered:
    """Jobs of an owner, in their order."""

    owner: Registered
    job_ids: tuple[JobId, ...]


@pytest.fixture(scope="session")
def many_jobs(
    make_party: MakeParty, published: Published, digits: DigitsFiles, tmp_path_factory: pytest.TempPathFactory
) -> Ordered:
    """More than there are slots for: three jobs of two trainers. Tests that need no slot ask for them too, to go on
    while they wait for their turns.
    """
    owner = register(make_party("owner"), published, digits.train, tmp_path_factory.mktemp("many") / "sealed")
    return Ordered(owner, tuple(order(owner, published, replace(TINY, rounds=1)) for _ in range(3)))


def order(registered: Registered, published: Published, wishes: ScheduleWishes = TINY, trainers: int = 2) -> JobId:
    """Sign and submit an order."""
    training = ordering.Training(registered.dataset.dataset_id, published.bundle.bundle_id, trainers, wishes)
    return e.outcome(ordering.train(registered.party, training), e.OrderAccepted).job_id


def follow(registered: Registered, job_id: JobId) -> list[e.Event]:
    """Watch a job to its end."""
    return list(ordering.watch(registered.party, job_id))


def came_late(told: list[e.Event]) -> bool:
    """Whether the machine was too busy for a job's schedule, so that not one round was done in time."""
    return [event.report for event in told if isinstance(event, e.ReportOpened)][-1].codes == ("unavailable.rounds",)


def had_time(told: list[e.Event]) -> bool:
    """Whether no round was late."""
    last = [event.report for event in told if isinstance(event, e.ReportOpened)][-1]
    return not came_late(told) and last.outcome != "finished_short"


def train(registered: Registered, published: Published, wishes: ScheduleWishes) -> list[e.Event]:
    """Order and follow a job, and again, twice at most and with more time each time, where the machine was too busy."""
    for patience in (1, 2, 5):
        warmup = patience * (wishes.warmup_seconds or WARMUP_SECONDS)
        slower = replace(wishes, warmup_seconds=warmup, slack_percent=min(1000, patience * wishes.slack_percent))
        told = follow(registered, order(registered, published, slower))
        if had_time(told):
            break
    return told


@dataclass(frozen=True)
class Finished:
    """A job of full length that has sealed its model, and what its owner is told of it afterwards."""

    owner: Party
    order: TrainingOrder
    told: list[e.Event]
    model: e.ModelSealed


@pytest.fixture(scope="session")
def finished(demo: DemoRun) -> Finished:
    """The demo's job."""
    party = demo.party("owner")
    (job_id,) = map(JobId, party.documents("orders"))
    signed = party.document("orders", job_id)
    assert signed is not None
    *told, model = ordering.watch(party, job_id)
    assert isinstance(model, e.ModelSealed), model
    return Finished(party, TrainingOrder.decode(signed.payload), told, model)


def let_ask(finished: Finished, user: Party, destination: Path, answers: int, **changes: object) -> Signed:
    """The owner's grant for a user; `changes` are signed into it afterwards, as an owner who errs would."""
    asker, terms = user.identity.signing_key.party, granting.GrantTerms(answers)
    e.outcome(granting.grant(finished.owner, asker, finished.model.model_id, terms, destination), e.GrantSigned)
    signed = Signed.decode(destination.read_bytes())
    changed = QueryGrant.decode(signed.payload).model_copy(update=changes)
    return sign(changed, finished.owner.identity.signing_key) if changes else signed
