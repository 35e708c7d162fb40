"""The verdict on a broker that was killed sees each thing that must not be; victims and pauses come from a seed."""

from collections import Counter
from itertools import pairwise

import pytest

from bench.attest_kill_load import ANSWERS, ATTEMPTS, Told
from bench.attest_kill_strikes import MOST_OF_A_SERVICE, RESTARTED_BY_SUPERVISOR, draw
from bench.attest_kill_verdict import _of_answers, _of_attempts, _of_heads, _of_keys
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.merkle import merkle_root
from common.identifiers import GrantId, JobId, RoleName
from common.messages.decision_log import LogEntry, LogSubjects

JOB = JobId.of(sha256(b"a job"))
GRANT = GrantId.of(sha256(b"a grant"))
LEAVES = [b"one", b"two", b"three"]


def entry(decision: str, outcome: str, code: str | None = None, **subjects: object) -> LogEntry:
    fields = {"number": 0, "epoch": 1, "time": 1, "salt": bytes(16), "decision": decision, "outcome": outcome}
    return LogEntry.model_validate(fields | {"code": code, "subjects": LogSubjects.model_validate(subjects)})


def admitted(slot: int, attempt: int) -> LogEntry:
    return entry("admit-launch", "released", role=RoleName("trainer"), job=JOB, slot=slot, attempt=attempt)


def drawn(answers: int) -> LogEntry:
    return entry("draw-budget", "released", grant=GRANT, answers=answers)


def test_a_seed_draws_the_same_victims_and_no_service_is_given_up() -> None:
    assert list(draw(50, 7)) == list(draw(50, 7)) != list(draw(50, 8))
    assert len({one.victim for one in list(draw(50, 7))[:4]}) == 4
    died = Counter(one.victim for one in draw(500, 7))
    assert {died[name] for name in RESTARTED_BY_SUPERVISOR} == {MOST_OF_A_SERVICE}
    assert len(died) == 4
    assert {one.when_ready for one in draw(50, 7)} == {True, False}


def test_one_job_has_one_key() -> None:
    one, other = SecretKey.generate(), SecretKey.generate()
    assert _of_keys(Told(job_keys={JOB: [one, one]})) == []
    assert len(_of_keys(Told(job_keys={JOB: [one, one, other]}))) == 1


@pytest.mark.parametrize(
    ("given", "logged", "problems"),
    [
        ([1, 2], [1, 2], 0),
        ([2], [1, 2], 0),  # the reply to the first was lost
        ([1, 1], [1], 1),
        ([1], [1, 1], 1),
        ([1, 2], [1], 1),
        ([ATTEMPTS + 1], [ATTEMPTS + 1], 1),
        ([], [ATTEMPTS + 1], 1),
    ],
    ids=str,
)
def test_an_attempt_is_given_out_once_within_the_policy_and_logged(
    given: list[int], logged: list[int], problems: int
) -> None:
    told = Told(attempts=[(JOB, 0, attempt) for attempt in given])
    assert len(_of_attempts(told, [admitted(0, attempt) for attempt in logged])) == problems


@pytest.mark.parametrize(
    ("told", "blocks", "emptied", "problems"),
    [
        (ANSWERS, [ANSWERS], True, 0),
        (8, [8, ANSWERS - 8], True, 0),
        (8, [8], False, 0),
        (16, [8], False, 1),
        (8, [8], True, 1),
        (8, [8, ANSWERS], False, 1),
    ],
    ids=str,
)
def test_a_grant_gives_what_it_has(told: int, blocks: list[int], problems: int, *, emptied: bool) -> None:
    entries = [drawn(block) for block in blocks]
    if emptied:
        entries.append(entry("draw-budget", "refused", "policy.budget", grant=GRANT))
    assert len(_of_answers(Told(answers={GRANT: told}), entries)) == problems


def test_every_head_is_one_of_the_log() -> None:
    heads = {size: {merkle_root(LEAVES[:size])} for size in (1, 2, 3)}
    assert _of_heads(Told(heads=heads), LEAVES) == []
    for size, root in ((4, sha256(b"longer")), (2, sha256(b"forked"))):
        shown = {one: set(roots) for one, roots in heads.items()}
        shown.setdefault(size, set()).add(root)
        assert len(_of_heads(Told(heads=shown), LEAVES)) == 1
    assert all(len(_of_heads(Told(heads=heads), LEAVES[:size])) for size, _ in pairwise(range(4)))
