"""Every token that leaves is in the decision log, and a caller who asks in a loop does not fill it."""

from pathlib import Path
from typing import Any

import pytest

from common.crypto.digests import sha256
from common.crypto.jws import thumbprint
from common.errors import ConflictError, Refusal
from common.identifiers import JobId
from common.key_retrieval import Launch
from common.messages.decision_log import LogEntry
from common.messages.tokens import AttestationToken, IssueToken, ShowTokenKey, TokenKey, TokenKeyShown
from services.attestation.open_counts import WINDOW_SECONDS
from services.attestation.token_log import TOKENS_KEPT
from tests.fakes.broker_world import MEASUREMENTS, TRAINER, BrokerWorld
from tests.fakes.recovery_world import RecoveryWorld
from tests.unit.services.attestation.test_tokens import Showing


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    return world.start_job()


def entries(world: BrokerWorld) -> list[LogEntry]:
    return [LogEntry.decode(raw) for raw in world.store.entries]


def issue(world: BrokerWorld, job_id: JobId, launch: Launch) -> str:
    body = IssueToken(job_id=job_id, launch=launch.signing_key.party)
    return world.channel().ask(body, AttestationToken).token


def about_tokens(world: BrokerWorld) -> list[LogEntry]:
    return [one for one in entries(world) if one.decision in ("issue-token", "appraise-evidence")]


def test_the_entry_of_a_token_says_which_and_of_whom(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id, 1)
    token = issue(world, job_id, launch)
    [entry] = about_tokens(world)
    subjects = entry.subjects
    shown = world.channel().ask(ShowTokenKey(), TokenKeyShown).document
    assert (entry.decision, entry.outcome) == ("issue-token", "recorded")
    assert subjects.document == sha256(token.encode())
    assert (subjects.job, subjects.role, subjects.slot, subjects.attempt) == (job_id, TRAINER, 1, 1)
    assert (subjects.launch, subjects.measurement) == (launch.signing_key.party, MEASUREMENTS["trainer"])
    assert subjects.token_key == thumbprint(TokenKey.decode(shown.payload).key)
    assert set(subjects.parties) == {world.owner.party, world.provider.party}
    assert token.encode() not in b"".join(world.store.entries)


def test_that_of_a_token_on_fresh_evidence_names_the_quote(world: BrokerWorld, job_id: JobId) -> None:
    showing = Showing(world, job_id)
    token = showing.token()
    [entry] = about_tokens(world)
    assert (entry.decision, entry.subjects.document) == ("appraise-evidence", sha256(token.encode()))
    assert (entry.subjects.launch, entry.subjects.measurement) == (showing.key.party, MEASUREMENTS["trainer"])
    assert entry.subjects.evidence is not None


def test_a_refused_one_is_entered_as_other_refusals_are(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id)
    with pytest.raises(Refusal, match=r"appraisal\.measurement"):
        Showing(world, job_id).token(MEASUREMENTS["query"])
    world.finish(job_id)
    for _ in range(3):
        with pytest.raises(ConflictError, match=r"conflict\.job_state"):
            issue(world, job_id, launch)
    told = [(one.decision, one.code) for one in about_tokens(world)]
    assert told == [("appraise-evidence", "appraisal.measurement"), ("issue-token", "conflict.job_state")]
    assert about_tokens(world)[1].subjects.launch == launch.signing_key.party


def test_a_loop_is_told_together(world: BrokerWorld, job_id: JobId) -> None:
    launch, other = world.launch(TRAINER, job_id, 0), world.launch(TRAINER, job_id, 1)
    before = world.head.size
    for _ in range(TOKENS_KEPT + 70):
        assert issue(world, job_id, launch), "all are issued"
    assert world.head.size == before + TOKENS_KEPT
    assert issue(world, job_id, other)
    assert world.head.size == before + TOKENS_KEPT + 1, "another launch has a number of its own"
    world.time += WINDOW_SECONDS
    assert issue(world, job_id, launch)
    *_, entry, single = about_tokens(world)
    assert (entry.decision, entry.outcome, entry.code) == ("issue-token", "recorded", None)
    assert entry.further is not None
    assert entry.further.count == 70
    assert (entry.subjects.launch, entry.subjects.document) == (launch.signing_key.party, None)
    assert entry.subjects.token_key is not None
    assert single.further is None, "a new window"


def test_fresh_evidence_without_end_is_bounded_by_its_job(world: BrokerWorld, job_id: JobId) -> None:
    before = world.head.size
    for _ in range(TOKENS_KEPT + 5):
        Showing(world, job_id).token()
    assert world.head.size == before + TOKENS_KEPT
    world.core.rest(world.time)
    entry = about_tokens(world)[-1]
    assert entry.further is not None
    assert (entry.further.count, entry.subjects.job, entry.subjects.launch) == (5, job_id, None)


def test_refusals_of_tokens_take_no_place_from_those_of_launches(world: BrokerWorld, job_id: JobId) -> None:
    for _ in range(20):
        with pytest.raises(Refusal):
            Showing(world, job_id).token(MEASUREMENTS["query"])
    with pytest.raises(Refusal):
        world.launch(TRAINER, job_id, measurement=MEASUREMENTS["query"])
    assert (entries(world)[-1].decision, entries(world)[-1].code) == ("admit-launch", "appraisal.measurement")


def test_no_token_leaves_before_the_witnesses_know_of_it(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    [witness] = world.witnesses
    world.confirm(witness)
    job_id = world.start_job()
    with world.attended(witness):
        launch: Any = world.launch(TRAINER, job_id)
    with pytest.raises(Refusal, match=r"unavailable\.frozen"):
        issue(world, job_id, launch)
    assert len(about_tokens(world)) == 1, "the log may tell of more than left, never of less"
    with world.attended(witness):
        assert issue(world, job_id, launch)


def test_a_token_makes_no_recovery_package_old(tmp_path: Path) -> None:
    """It says something of a job's launch, and changes nothing of its data."""
    recovery = RecoveryWorld(tmp_path)
    old = recovery.old
    job_id = old.start_job(recovery.data)
    with old.attended(recovery.witness_identity.signing_key):
        launch = old.launch(TRAINER, job_id)
        made = recovery.package()
        assert issue(old, job_id, launch)
    recovery.witness.round()
    assert recovery.package() == made
    assert recovery.recover(recovery.new_machine()).dataset_id == recovery.data.dataset_id
