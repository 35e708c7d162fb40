"""A whole job, all of its enclaves under `gramine-direct`, is the same job as that of plain processes, to the bit.

Broker, parameter server, two trainers and query enclave run in a stack whose launchers' settings name that tool; a
second stack runs them as processes on the simulated platform. Both get the same rows, the same design code and an
order of the same seed, which this owner chose instead of drawing it. Compared is what each sealed: every value of the
model, and the design. Answers are held against eager torch on the model of plain processes: under Gramine that is what
answers, while a sandbox elsewhere chooses the fastest engine (common/sandboxed/engine_choice.py).

Without Gramine it is skipped, which stands in the summary.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.kill_scene import enrolled
from client import events as e
from client import granting, ordering, owner, provider, user
from client.context import Party
from client.policy_terms import PolicyTerms, ProviderTerms
from client.scheduling import ScheduleWishes, schedule_for
from client.watching.following import Beat
from common.bundle import DESCRIPTION_FILE
from common.crypto.wrapping import wrap
from common.identifiers import JobId
from common.job_design import open_design
from common.key_binding import order_secret_info
from common.messages.order import OrderSecret, TrainingOrder
from common.messages.policy import JobReport
from common.messages.signed import Signed, sign
from common.sandbox.enclosed import EnclosedQuerySandbox
from deploy.embedded.processes import descendants_of
from deploy.embedded.stack import EmbeddedStack
from deploy.embedded.table import whole_stack
from deploy.enclaves import tools
from tests.conftest import Say
from tests.fakes.breast_cancer import EXAMPLE, example_bundle, small_component, table
from tests.fakes.opened_model import OpenedModel, open_sealed_model
from tests.integration.gramine_tables import build_enclaves, under_gramine_direct

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which(tools.DIRECT_TOOL) is None, reason="Gramine is not installed"),
    pytest.mark.timeout(1500),
]

ROLES: Final = frozenset({"broker", "paramserver", "trainer", "query"})
SEED: Final = bytes(range(32))
"""What the owner of both orders chose."""

WISHES: Final = ScheduleWishes(rounds=5, steps=20, batch=32, slack_percent=800, warmup_seconds=120)
PATIENCE: Final = (1, 2)
"""Times the warm-up and the slack of the schedule, in turn, where the machine was too busy for it."""

TRAIN, HELD = table()
COMPONENT: Final = small_component(len(TRAIN["label"]))
READY_SECONDS: Final = 400.0


@dataclass(frozen=True)
class Job:
    """What one stack made of the order."""

    model: OpenedModel
    report: JobReport
    labels: NDArray[np.uint32]
    scores: NDArray[np.generic]
    order: TrainingOrder
    seen: frozenset[str]
    """Roles whose enclaves ran under Gramine at some time."""


def roles_under_gramine(guardian: int) -> frozenset[str]:
    """By the last word of each command of Gramine's loader among these descendants."""
    roles = set()
    for pid in descendants_of(guardian):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if Path(words[0].decode(errors="replace")).match("gramine/direct/loader"):
            roles.add(words[-2].decode(errors="replace"))
    return frozenset(roles)


def seeded_order(party: Party, training: ordering.Training) -> Signed:
    """As `ordering.make_order` signs it, but with `SEED` in the secret that only the broker opens."""
    publication = ordering.fetch_publication(party, training.bundle_id)
    schedule = schedule_for(training.wishes, publication)
    order = TrainingOrder.decode(ordering.make_order(party, training, schedule, publication.sandbox).payload)
    secret = OrderSecret(
        learning_seed=SEED, outer_learning_rate=training.outer_learning_rate, outer_momentum=training.outer_momentum
    )
    own, broker = party.identity.signing_key, party.trust.broker.signing_public
    wrapped = wrap(secret.encode(), party.broker_key, order_secret_info(order.nonce, own.party, broker))
    return sign(order.model_copy(update={"secret": wrapped}), own)


def publish(parties: dict[str, Party], place: Path) -> ordering.Training:
    """Design code, sealed rows, and the owner's word that the one may see the other."""
    source = place / "design"
    source.mkdir()
    shutil.copy(EXAMPLE / DESCRIPTION_FILE, source)
    (source / "tabular_mlp.wasm").write_bytes(COMPONENT)
    e.outcome(provider.pack(parties["provider"], source, place / "design.sealed"), e.Sealed)
    told = provider.publish(parties["provider"], place / "design.sealed", ProviderTerms())
    bundle = e.outcome(told, e.BundleRegistered)
    np.savez(place / "table.npz", allow_pickle=False, **TRAIN)
    e.outcome(owner.seal(parties["owner"], place / "table.npz", place / "table.sealed"), e.Sealed)
    dataset = e.outcome(owner.upload(parties["owner"], place / "table.sealed"), e.DatasetRegistered)
    provided_by = parties["provider"].identity.signing_key.party
    terms = PolicyTerms(providers=(provided_by,), sandboxes=("wasm",), max_jobs=len(PATIENCE), answers_total=1000)
    e.outcome(owner.set_policy(parties["owner"], dataset.dataset_id, terms), e.PolicySigned)
    return ordering.Training(dataset.dataset_id, bundle.bundle_id, 2, WISHES, minimal_trainers=2)


def trained(party: Party, training: ordering.Training, look: Beat) -> tuple[e.ModelSealed, JobReport, JobId]:
    """The model and the last report, with more time where the machine was too busy for all rounds."""
    for patience in PATIENCE:
        wishes = replace(
            WISHES,
            warmup_seconds=patience * (WISHES.warmup_seconds or 0),
            slack_percent=min(1000, patience * WISHES.slack_percent),
        )
        order = seeded_order(party, replace(training, wishes=wishes))
        job_id = e.outcome(ordering.submit(party, order), e.OrderAccepted).job_id
        told = list(ordering.watch(party, job_id, beat=look))
        last = [one.report for one in told if isinstance(one, e.ReportOpened)][-1]
        if last.rounds_delivered == (WISHES.rounds, WISHES.rounds):
            break
    assert isinstance(told[-1], e.ModelSealed), told[-1]
    return told[-1], last, job_id


def ask(parties: dict[str, Party], model: e.ModelSealed, place: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and scores of all held-out rows, a query at a time."""
    asker, rows = parties["user"], HELD["features"]
    terms = granting.GrantTerms(len(rows))
    key = asker.identity.signing_key.party
    e.outcome(granting.grant(parties["owner"], key, model.model_id, terms, place / "grant.json"), e.GrantSigned)
    session = user.open_session(asker, Signed.decode((place / "grant.json").read_bytes()))
    most = session.profile.max_rows
    answers = [session.ask(rows[at : at + most]) for at in range(0, len(rows), most)]
    scores = [one.scores for one in answers if one.scores is not None]
    return np.concatenate([one.labels for one in answers]), np.concatenate(scores)


def run(stack: EmbeddedStack, place: Path, say: Say) -> Job:
    """The whole job on a stack that is started and stopped here."""
    begun = time.monotonic()
    stack.start(tied=True)
    try:
        status = stack.wait_ready(seconds=READY_SECONDS)
        assert status.guardian_pid is not None
        guardian, seen = status.guardian_pid, set[str]()
        say(f"ready after {time.monotonic() - begun:.0f} s")

        def look(_: object = None) -> Iterator[e.Event]:
            seen.update(roles_under_gramine(guardian))
            return iter(())

        parties = enrolled(stack, place / "parties")
        model, report, job_id = trained(parties["owner"], publish(parties, place), look)
        labels, scores = ask(parties, model, place)
        look()
        signed = parties["owner"].document("orders", job_id)
        assert signed is not None
    finally:
        stack.stop()
    opened = open_sealed_model(stack.state, job_id, example_bundle(COMPONENT).manifest)
    say(f"{report.round} rounds, sealed and asked after {time.monotonic() - begun:.0f} s")
    return Job(opened, report, labels, scores, TrainingOrder.decode(signed.payload), frozenset(seen))


def tables(function: Any) -> str:
    """How a supervisor is told of a table."""
    return f"{function.__module__}:{function.__name__}"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, say: Say) -> Job:
    """The job of plain processes."""
    place = tmp_path_factory.mktemp("plain")
    return run(EmbeddedStack(place / "state", tables(whole_stack)), place, say)


@pytest.fixture(scope="module")
def enclosed(tmp_path_factory: pytest.TempPathFactory, say: Say) -> Job:
    """The job under Gramine."""
    place = tmp_path_factory.mktemp("enclosed")
    stack = EmbeddedStack(place / "state", tables(under_gramine_direct))
    begun = time.monotonic()
    for role, files in build_enclaves(stack.state).items():
        say(f"{role}: {len(files)} trusted files, {sum(one.size_bytes for one in files) / 1e6:.0f} MB")
    say(f"built in {time.monotonic() - begun:.0f} s")
    return run(stack, place, say)


def test_every_role_ran_under_gramine_and_none_did_elsewhere(enclosed: Job, plain: Job) -> None:
    assert enclosed.seen == ROLES
    assert not plain.seen


def test_every_round_was_delivered_by_both_trainers(enclosed: Job, plain: Job) -> None:
    for job in (enclosed, plain):
        assert (job.report.outcome, job.report.codes) == ("finished", ())
        assert job.report.rounds_delivered == (WISHES.rounds, WISHES.rounds)


def test_the_sealed_model_is_the_same_to_the_bit(enclosed: Job, plain: Job) -> None:
    assert enclosed.model.document == plain.model.document
    assert enclosed.model.state_P.tobytes() == plain.model.state_P.tobytes()
    assert np.count_nonzero(enclosed.model.state_P) > 0
    assert enclosed.report.loss == plain.report.loss


def test_answers_are_those_of_eager_torch_on_the_model_of_plain_processes(enclosed: Job, plain: Job) -> None:
    served = open_design(plain.model.document, example_bundle(COMPONENT).manifest, plain.order.schedule)
    most, rows = served.manifest.query_rows, HELD["features"]
    sandbox = EnclosedQuerySandbox.start(served, plain.model.state_P[: served.manifest.state_count])
    try:
        told = [sandbox.answer(rows[at : at + most], 60.0).answer_NA for at in range(0, len(rows), most)]
    finally:
        sandbox.close()
    expected = np.concatenate([one for one in told if one is not None])
    assert enclosed.scores.tobytes() == expected.astype(enclosed.scores.dtype, copy=False).tobytes()
    assert enclosed.labels.tolist() == plain.labels.tolist() == expected.argmax(axis=1).tolist()
    assert np.mean(enclosed.labels == HELD["label"]) > 0.9
