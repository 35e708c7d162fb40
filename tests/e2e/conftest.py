"""One real stack for a session, and parties that are made afresh."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from client import events as e
from client import granting, ordering, owner, provider
from client.context import Endpoints, Party
from client.demo import WISHES, calibrated, train_plain
from client.digits import DigitsFiles, write_digits
from client.measuring import CODE_ROOT, measure_roles
from client.pinning import pin
from client.policy_terms import PolicyTerms, ProviderTerms
from client.scheduling import ScheduleWishes
from client.stack_access import endpoints_of, read_trust_settings
from common.enclave.trust_settings import TrustSettings
from common.identifiers import JobId
from common.messages.policy import QueryGrant
from common.messages.signed import Signed, sign
from deploy.embedded.stack import EmbeddedStack

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


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """All services, private to this session."""
    state = tmp_path_factory.mktemp("stack") / "state"
    embedded = EmbeddedStack(state)
    embedded.start(tied=True)
    try:
        embedded.wait_ready()
        trust_settings = read_trust_settings(state)
        cache = tmp_path_factory.getbasetemp() / "environment.digests"
        yield RunningStack(state, embedded, trust_settings, tuple(measure_roles(trust_settings, cache)))
    finally:
        embedded.stop()


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
def published(make_party: MakeParty, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The example bundle, packed and published."""
    return publish(
        make_party("provider"),
        CODE_ROOT / "examples" / "providers" / "digits_cnn",
        tmp_path_factory.mktemp("bundle") / "sealed",
    )


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


def order(registered: Registered, published: Published, wishes: ScheduleWishes = TINY, trainers: int = 2) -> JobId:
    """Sign and submit an order."""
    training = ordering.Training(registered.dataset.dataset_id, published.bundle.bundle_id, trainers, wishes)
    return e.outcome(ordering.train(registered.party, training), e.OrderAccepted).job_id


def follow(registered: Registered, job_id: JobId) -> list[e.Event]:
    """Watch a job to its end."""
    return list(ordering.watch(registered.party, job_id))


@dataclass(frozen=True)
class Finished:
    """A job of full length that has sealed its model, and what its owner was told meanwhile."""

    owner: Registered
    wishes: ScheduleWishes
    told: list[e.Event]
    model: e.ModelSealed


@pytest.fixture(scope="session")
def plain(digits: DigitsFiles) -> e.PlainTwinTrained:
    """The same code and rows in plain torch."""
    return train_plain(digits, WISHES)


@pytest.fixture(scope="session")
def finished(
    make_party: MakeParty,
    published: Published,
    digits: DigitsFiles,
    plain: e.PlainTwinTrained,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """The demo's job, trained once for all tests of what comes after."""
    registered = register(make_party("owner"), published, digits.train, tmp_path_factory.mktemp("data") / "sealed")
    wishes = calibrated(WISHES, plain)
    told = follow(registered, order(registered, published, wishes))
    model = told[-1]
    assert isinstance(model, e.ModelSealed), model
    return Finished(registered, wishes, told, model)


def let_ask(finished: Finished, user: Party, destination: Path, answers: int, **changes: object) -> Signed:
    """The owner's grant for a user; `changes` are signed into it afterwards, as an owner who errs would."""
    asker, terms = user.identity.signing_key.party, granting.GrantTerms(answers)
    e.outcome(granting.grant(finished.owner.party, asker, finished.model.model_id, terms, destination), e.GrantSigned)
    signed = Signed.decode(destination.read_bytes())
    changed = QueryGrant.decode(signed.payload).model_copy(update=changes)
    return sign(changed, finished.owner.party.identity.signing_key) if changes else signed


def labels_of(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """The label column of an NPZ file."""
    with np.load(path, allow_pickle=False) as columns:
        labels: np.ndarray[tuple[int], np.dtype[np.int64]] = columns["label"]
        return labels
