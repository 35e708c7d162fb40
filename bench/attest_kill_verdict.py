"""What must hold after the key broker died again and again while fifty enclaves asked it (side: owner).

(1) nobody was refused but by a limit of the policy, and every enclave has keys of the newest job;
(2) all that anybody got of one job is one job key: none was lost, none made twice;
(3) no attempt was given out twice, and none beyond the policy's; the log records each that was given out, once;
(4) there are as many jobs as the policy allows, one for each order;
(5) no grant gave more answers than it has; the log's blocks of a grant that was drawn empty add up to it;
(6) the log verifies from its genesis to its head, and every head that anybody was shown is a head of this log.
"""

from collections import Counter
from pathlib import Path

from bench.attest_kill_load import ANSWERS, ATTEMPTS, Load, Told
from client import audit
from client import events as e
from common.crypto.merkle import MerkleTree
from common.errors import CloisterError
from common.messages.decision_log import MAX_BUNDLE_BYTES, AuditBundle, LogEntry
from tests.fakes.log_keeping import NOWHERE, identity_directory


def problems_of(load: Load, directory: Path, attestation_url: str) -> tuple[list[str], list[LogEntry]]:
    """What did not hold of (1) to (6), and the log's entries as the owner reads them."""
    told = load.told
    try:
        leaves, entries = _audited(load, directory, attestation_url)
    except CloisterError as error:
        return [*told.refusals, f"the log was not verified: {error}"], []
    problems = [*told.refusals, *_of_keys(told), *_of_attempts(told, entries)]
    problems += [*_of_jobs(load, entries), *_of_answers(told, entries), *_of_heads(told, leaves)]
    return problems, entries


def _audited(load: Load, directory: Path, attestation_url: str) -> tuple[list[bytes], list[LogEntry]]:
    """Leaves and entries of the log, fetched and verified (6). Raises what the verification refuses."""
    endpoints = NOWHERE.model_copy(update={"attestation": attestation_url})
    party, path = identity_directory(load.world, load.world.owner, directory / "owner", endpoints), directory / "log"
    e.outcome(audit.fetch(party, path), e.LogSaved)
    shown = audit.show(party, audit.About(), path)
    entries = [event.entry for event in shown if isinstance(event, e.LogEntryTold)]
    items = AuditBundle.decode(path.read_bytes(), limit=MAX_BUNDLE_BYTES).items
    return [item.leaf for item in items], entries


def _of_keys(told: Told) -> list[str]:
    return [f"{job_id} has several keys" for job_id, keys in told.job_keys.items() if any(k != keys[0] for k in keys)]


def _of_attempts(told: Told, entries: list[LogEntry]) -> list[str]:
    given = Counter(told.attempts)
    logged = Counter(
        (one.subjects.job, one.subjects.slot, one.subjects.attempt)
        for one in entries
        if (one.decision, one.outcome, one.subjects.role) == ("admit-launch", "released", "trainer")
    )
    twice = [f"{key} was {how} {count} times" for how, counts in (("given out", given), ("logged", logged))
             for key, count in counts.items() if count > 1]  # fmt: skip
    beyond = [f"{key} is beyond the policy" for key in given.keys() | logged.keys() if (key[2] or 0) > ATTEMPTS]
    return [*twice, *beyond, *(f"{key} is not in the log" for key in given.keys() - logged.keys())]


def _of_jobs(load: Load, entries: list[LogEntry]) -> list[str]:
    accepted = [one.subjects.job for one in entries if (one.decision, one.outcome) == ("accept-order", "recorded")]
    counts = (len(accepted), len(set(accepted)), len(set(load.jobs)) + 1)  # one was the query enclave's
    return [] if set(counts) == {load.jobs_allowed} else [f"{counts} jobs instead of {load.jobs_allowed}"]


def _of_answers(told: Told, entries: list[LogEntry]) -> list[str]:
    drawn: Counter[str] = Counter()
    for one in entries:
        if (one.decision, one.outcome) == ("draw-budget", "released"):
            drawn[str(one.subjects.grant)] += one.subjects.answers or 0
    emptied = [one.subjects.grant for one in entries if (one.decision, one.code) == ("draw-budget", "policy.budget")]
    problems = [f"{grant} gave {count}" for grant, count in told.answers.items() if count > min(ANSWERS, drawn[grant])]
    problems += [f"the log has {count} answers of {grant}" for grant, count in drawn.items() if count > ANSWERS]
    return problems + [f"{grant} was empty at {drawn[str(grant)]}" for grant in emptied if drawn[str(grant)] != ANSWERS]


def _of_heads(told: Told, leaves: list[bytes]) -> list[str]:
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return [
        f"the head of size {size} is not of this log"
        for size, roots in told.heads.items()
        if size > tree.size or roots != {tree.root(size)}
    ]
