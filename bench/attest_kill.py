"""`./cloister bench attest-kill`: the key broker dies again and again while fifty enclaves attest and fetch keys (side:
owner).

A real attestation service with its broker enclave and a witness, under the supervisor; what must hold afterwards stands
in bench/attest_kill_verdict. Keys of the JSON file: `seed`, `kills` by victim, `launches` that got keys,
`wasted_attempts` and `wasted_answers` (decided, and then the reply was lost), `asked_again`, `jobs`, `log_entries`,
`heads_held_against`, `problems`, `wall_seconds`. The same seed draws the same victims and pauses again.
"""

import json
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from bench.attest_kill_load import Load
from bench.attest_kill_strikes import draw, strike
from bench.attest_kill_verdict import problems_of
from common.messages.decision_log import LogEntry
from deploy.embedded.stack import EmbeddedStack
from tests.fakes.installation import bring_digests
from tests.fakes.served_world import ServedWorld

JOBS: Final = 400
"""More than the enclaves use up meanwhile."""

TABLE: Final = "deploy.embedded.table:attesting"


@dataclass(frozen=True)
class Endured:
    """What came of it. `problems`: what did not hold; empty: all did."""

    seed: int
    kills: dict[str, int]
    launches: int
    wasted_attempts: int
    wasted_answers: int
    asked_again: int
    jobs: int
    log_entries: int
    heads_held_against: int
    problems: tuple[str, ...]
    wall_seconds: float


def endure(directory: Path, kills: int, seed: int, jobs: int, say: Callable[[str], None]) -> Endured:
    """Start a stack in `directory`, let it be asked and killed, judge what is left."""
    begun = time.monotonic()
    with _running(directory / "state") as stack:
        url = stack.url("attestation")
        load = Load(ServedWorld(stack.state.root, url), jobs)
        load.start()
        planned = list(draw(kills, seed))
        problems = strike(stack, iter(planned), say)
        problems += load.finish()
        more, entries = problems_of(load, directory, url)
    told = load.told
    return Endured(
        seed, dict(Counter(one.victim for one in planned)), len(told.attempts),
        _released(entries, "admit-launch") - len(told.attempts) - 2,  # a parameter server and a query enclave
        sum(one.subjects.answers or 0 for one in entries if one.outcome == "released") - sum(told.answers.values()),
        told.repeated, len(load.jobs) + 1, max(told.heads), len(told.heads), tuple(problems + more),
        round(time.monotonic() - begun, 1),
    )  # fmt: skip


def _released(entries: list[LogEntry], decision: str) -> int:
    return sum((one.decision, one.outcome) == (decision, "released") for one in entries)


@contextmanager
def _running(state: Path) -> Iterator[EmbeddedStack]:
    stack = EmbeddedStack(state, TABLE)
    stack.state.prepare()
    bring_digests(state)
    stack.start(tied=True)
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


@click.command("attest-kill")
@click.option("--kills", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Processes that die.")
@click.option("--seed", type=int, help="Of all victims and pauses; drawn and printed when it is not given.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def attest_kill(kills: int, seed: int | None, json_file: Path | None) -> None:
    """Kill the key broker while enclaves fetch keys, and see that no key is lost or released twice."""
    chosen = secrets.randbits(32) if seed is None else seed
    click.echo(f"seed {chosen}")
    directory = Path(tempfile.mkdtemp(prefix="cloister-attest-kill-"))
    endured = endure(directory, kills, chosen, JOBS, lambda line: click.echo(f"  {line}"))
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(endured), indent=2) + "\n")
    for name, value in asdict(endured).items():
        click.echo(f"{name:>20}  {value}")
    if endured.problems:
        click.echo(f"did not hold, with --seed {chosen}; logs in {directory}/state/logs")
        raise SystemExit(1)
    shutil.rmtree(directory)
