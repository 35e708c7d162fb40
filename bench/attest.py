"""`./cloister bench attest`: is evidence judged right, nothing forged accepted, and what does it cost? (side: owner).

Keys of the JSON file, with their bars in `LEAST` and `MOST`: `vectors_right` of `vectors_total` (all),
`mutations_accepted` of `mutations_total`, `verify_ratio` (full appraisals per CPU second against the bare engine's, in
turn, medians), `verify_per_second`; `attest_and_key_p50_ms` and `_p95_ms` (one client on loopback, from the challenge
to keys in hand, the witness's word included), `attest_per_second` (64 launches at once, `attest_errors` of them without
keys), `revocation_seconds`; `rollback_accepted` of `rollback_tried` older things, `rollback_by_kind` (bench/rollback).
"""

import json
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from bench.attest_evidence import measure_evidence
from bench.attest_service import LEASE_SECONDS, measure_service
from bench.reference_vectors import VECTORS, all_vectors
from bench.rollback import measure_rollback

LEAST: Final = {"mutations_total": 5_000, "verify_ratio": 0.7, "attest_per_second": 100, "rollback_tried": 500}
MOST: Final = {
    "mutations_accepted": 0,
    "attest_and_key_p50_ms": 25,
    "attest_errors": 0,
    "revocation_seconds": LEASE_SECONDS + 5,
    "rollback_accepted": 0,
}


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Which bars these figures miss."""
    wrong = ["vectors_right"] if figures["vectors_right"] != figures["vectors_total"] else []
    low = [name for name, bar in LEAST.items() if figures[name] < bar]
    return [*wrong, *low, *(name for name, bar in MOST.items() if figures[name] > bar)]


@click.command()
@click.option("--seed", type=int, help="Of all changed positions; drawn and printed when it is not given.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def attest(seed: int | None, json_file: Path | None) -> None:
    """Judge real and forged quotes, time verification and key release, and show services what is old.

    Ends with status 1 where a bar is missed.
    """
    if not all_vectors():
        raise click.ClickException(f"no reference vectors in {VECTORS}: name their folder in CLOISTER_VECTORS")
    chosen = secrets.randbits(32) if seed is None else seed
    found, rolled_back = measure_evidence(chosen), measure_rollback()
    with tempfile.TemporaryDirectory(prefix="cloister-attest-") as directory:
        served = measure_service(Path(directory))
    figures = {"seed": chosen, **asdict(found), **asdict(served), **asdict(rolled_back)}
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        if not name.endswith("problems"):
            click.echo(f"{name:>20}  {value}")
    problems = (*found.problems, *rolled_back.rollback_problems)
    for problem in problems:
        click.echo(f"wrong: {problem}")
    if names := missed(figures):
        click.echo(f"missed: {', '.join(names)}", err=True)
    raise SystemExit(1 if problems or names else 0)
