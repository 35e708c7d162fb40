"""`./cloister bench sandbox`: is provider code confined, what does it get across, and what does it cost? (side: owner).

Keys of the JSON file: `attacks_native_blocked` of `attacks_native_total` (entries of
tests/security/sandbox/attacks/table, each blocked in every sandbox that it is meant for), `attacks_wasm_blocked` of
`attacks_wasm_total` (wasm_table), `attacks_blocked` of `attacks_total` (both tables), `attacks_by_group`;
`attacks_outside_succeeded` of `attacks_outside_total` (those on the native sandbox that mean something without one),
`attacks_got_through`; `sandbox_walls`; `schedule_bits_per_attempt` (common/leakage, of a schedule by default);
`cpu_channel_bits_per_second` and what else bench/sandbox_channels measures; what the native sandbox costs
(bench/sandbox_native) and the wasm sandbox (bench/sandbox_wasm); what design code learns beside the same design in
plain torch (bench/sandbox_accuracy).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from bench.sandbox_accuracy import measure_accuracy
from bench.sandbox_channels import measure_channels
from bench.sandbox_native import measure as measure_native
from bench.sandbox_wasm import measure_wasm
from client.scheduling import ScheduleWishes, host_view, plan_schedule
from common.sandbox.probe import sandbox_walls

STATE_CLASS = 1 << 20
"""Of the schedule whose bits are told: a model of a million parameters."""


@dataclass(frozen=True)
class AttackFigures:
    """What came of the tables. `attacks_got_through` says of each that was not blocked where, and what was seen."""

    attacks_blocked: int
    attacks_total: int
    attacks_native_blocked: int
    attacks_native_total: int
    attacks_wasm_blocked: int
    attacks_wasm_total: int
    attacks_by_group: dict[str, int]
    attacks_outside_succeeded: int
    attacks_outside_total: int
    attacks_got_through: tuple[str, ...]


def measure_attacks(*, outside: bool = True) -> AttackFigures:
    """Play both tables confined, and, if `outside`, what means something there also without a sandbox."""
    from tests.security.sandbox.attacks.confined import play_all
    from tests.security.sandbox.attacks.table import TABLE
    from tests.security.sandbox.attacks.unconfined import play_unconfined
    from tests.security.sandbox.attacks.wasm_table import WASM_TABLE, play_wasm

    wasm = play_wasm()
    broken = tuple(f"{one.attack.name} (wasm): {one.seen}" for one in wasm if not one.blocked)
    verdicts = play_all()
    through = tuple(f"{one.attack.name} ({one.sandbox}): {one.seen}" for one in verdicts if not one.blocked)
    played = {(one.attack.name, one.sandbox) for one in verdicts}
    left_out = {(one.name, place) for one in TABLE for place in one.sandboxes} - played
    not_blocked = {one.attack.name for one in verdicts if not one.blocked} | {name for name, _ in left_out}
    unconfined = play_unconfined() if outside else {}
    native_blocked, wasm_blocked = len(TABLE) - len(not_blocked), sum(one.blocked for one in wasm)
    groups = [*(attack.group for attack in TABLE), *(f"wasm {attack.group}" for attack in WASM_TABLE)]
    return AttackFigures(
        attacks_blocked=native_blocked + wasm_blocked,
        attacks_total=len(TABLE) + len(WASM_TABLE),
        attacks_native_blocked=native_blocked,
        attacks_native_total=len(TABLE),
        attacks_wasm_blocked=wasm_blocked,
        attacks_wasm_total=len(WASM_TABLE),
        attacks_by_group=dict(Counter(groups)),
        attacks_outside_succeeded=sum(unconfined.values()),
        attacks_outside_total=len(unconfined),
        attacks_got_through=(*through, *broken, *(f"{name} ({place}): not played" for name, place in sorted(left_out))),
    )


def _attacks() -> dict[str, Any]:
    return {**asdict(measure_attacks()), "sandbox_walls": sandbox_walls()}


def _schedule() -> dict[str, Any]:
    view = host_view(plan_schedule(ScheduleWishes(), STATE_CLASS), trainers=2)
    return {"schedule_bits_per_attempt": view.schedule_bits}


BARS: Final = {
    "schedule_bits_per_attempt": 10,
    "native_overhead": 1.03,
    "native_start_ms": 100,
    "wasm_start_ms": 50,
    "wasm_call_ms": 5,
    "auto_cnn_difference": 0.02,
}
"""The most that a figure may be, either way."""

LEAST_ATTACKS: Final = {"attacks_native_total": 80, "attacks_wasm_total": 80}
"""How many must have been tried of each table; all of them must have been blocked."""


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Which bars these figures miss; one that was not measured is not missed."""
    over = [name for name, most in BARS.items() if (value := figures.get(name)) is not None and abs(value) > most]
    few = [name for name, least in LEAST_ATTACKS.items() if figures.get(name, least) < least]
    return [*over, *few, *(["attacks_blocked"] if figures.get("attacks_got_through") else [])]


PARTS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "attacks": _attacks,
    "schedule": _schedule,
    "channels": lambda: asdict(measure_channels()),
    "native": lambda: asdict(measure_native()),
    "wasm": lambda: dict(measure_wasm()),
    "accuracy": lambda: asdict(measure_accuracy()),
}


@click.command()
@click.option("--only", "parts", type=click.Choice(list(PARTS)), multiple=True, help="Of the parts, these alone.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def sandbox(parts: tuple[str, ...], json_file: Path | None) -> None:
    """Attack the sandboxes with a table of attacks, and measure what they let through and what they cost.

    Ends with status 1 where a bar is missed.
    """
    figures: dict[str, Any] = {}
    for part in parts or PARTS:
        measured = PARTS[part]()
        for name, value in measured.items():
            click.echo(f"{name:>46}  {value}")
        figures |= measured
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if names := missed(figures):
        click.echo(f"missed: {', '.join(names)}", err=True)
        raise SystemExit(1)
