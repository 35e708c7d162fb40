"""An owner with many jobs, and a user who asks all the while."""

from collections.abc import Iterator

import numpy as np
import pytest

from bench.kill_asking import Asker
from bench.kill_driver import SHORT_JOB, KillDriver
from client import events as e
from client import ordering, owner, user
from client.digits import DigitsFiles
from client.policy_terms import PolicyTerms
from tests.e2e.conftest import Finished, MakeParty, Published, RunningStack, let_ask, register


@pytest.fixture(scope="session")
def driver(
    stack: RunningStack,
    make_party: MakeParty,
    published: Published,
    digits: DigitsFiles,
    tmp_path_factory: pytest.TempPathFactory,
) -> KillDriver:
    """An owner who may order many jobs."""
    directory = tmp_path_factory.mktemp("kills") / "sealed"
    registered = register(make_party("owner"), published, digits.train, directory, max_jobs=64)
    training = ordering.Training(registered.dataset.dataset_id, published.bundle.bundle_id, 2, SHORT_JOB)
    return KillDriver(stack.stack, registered.party, training)


@pytest.fixture(scope="module")
def asker(
    finished: Finished,
    published: Published,
    make_party: MakeParty,
    digits: DigitsFiles,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Asker]:
    """A user who asks the demo's model as long as a module's tests run: its owner allows more answers from now on."""
    (dataset_id,) = finished.order.datasets
    terms = PolicyTerms(providers=(published.party.identity.signing_key.party,), answers_total=10_000)
    e.outcome(owner.set_policy(finished.owner, dataset_id, terms), e.PolicySigned)
    party, destination = make_party("user"), tmp_path_factory.mktemp("grant") / "grant.json"
    grant = let_ask(finished, party, destination, answers=9000)
    with np.load(digits.held_out, allow_pickle=False) as columns:
        rows = columns["image"][:1]
    asking = Asker(lambda: user.open_session(party, grant), rows)
    asking.start()
    yield asking
    asking.stop()
