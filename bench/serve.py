"""`./cloister bench serve`: sealed models beside plain ones in other frameworks (side: owner).

Bars and keys stand in bench/serve_figures, rows in bench/serve_rows. Rows of one engine share a private stack, of a
build that answers with it (bench/serve_builds), with sandbox rules and placement on; overload and kills are those of
the product as it is. `settings` says so, and `left_out` what could not be measured and why: it counts as not passed.
Others on the machine move all rates: run it alone.
"""

import functools
import json
import os
import platform
import secrets
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from bench.serve_builds import build_with
from bench.serve_figures import missed
from bench.serve_kills import measure_kills
from bench.serve_models import MODELS
from bench.serve_overload import measure_overload
from bench.serve_peers import BATCHING, WORKERS
from bench.serve_rows import LATENCY, PAIRS, Turns, first_contacts, measure_int8, measure_latency, measure_pair
from bench.serve_scene import ServeScene, served
from client.measuring import CODE_ROOT
from common.sandbox.probe import sandbox_walls

PADDED_LATENCY, CONTACT, INT8 = f"{LATENCY}_padded", "verify_client_ms", "int8_pipeline_vs_fp32"
ROWS: Final = (*PAIRS, LATENCY, PADDED_LATENCY, CONTACT, INT8)

Figures = dict[str, Any]


def settings_of(turns: Turns) -> Figures:
    """What the figures depend on."""
    return {
        "turns": turns.turns,
        "seconds": turns.seconds,
        "users": turns.users,
        "peer_workers": WORKERS,
        "peer_batching": BATCHING,
        "sandbox": sandbox_walls(),
        "placement": "verified by each user (client/query_verification)",
        "torch": version("torch"),
        "openvino": version("openvino"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg(),
    }


@click.command()
@click.option("--only", "rows", type=click.Choice(ROWS), multiple=True, help="These rows; else all.")
@click.option("--users", default=Turns.users, show_default=True, help="Who ask at once.")
@click.option("--seconds", default=Turns.seconds, show_default=True, help="Of a turn.")
@click.option("--turns", default=Turns.turns, show_default=True, help="Of each side; ratios are of their medians.")
@click.option("--overload", "overload_seconds", type=float, help="Instead: so many seconds at three times the peak.")
@click.option("--kills", type=int, help="Instead: so many processes that die while users ask.")
@click.option("--seed", type=int, help="Of victims and moments; drawn when it is not given.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def serve(
    rows: tuple[str, ...],
    users: int,
    seconds: float,
    turns: int,
    overload_seconds: float | None,
    kills: int | None,
    seed: int | None,
    json_file: Path | None,
) -> None:
    """Measure sealed serving beside plain serving. Ends with status 1 where a bar is missed or a row left out."""
    measured_in, chosen = Turns(users, seconds, turns), secrets.randbits(32) if seed is None else seed
    told = Telling({"settings": settings_of(measured_in), "left_out": {}}, json_file)
    with tempfile.TemporaryDirectory(prefix="cloister-serve-") as folder:
        if overload_seconds is not None or kills is not None:
            measure_hurt(Path(folder), told, measured_in, overload_seconds, kills, chosen)
        else:
            measure_rows(Path(folder), told, rows or ROWS, measured_in)
    told.conclude()


class Telling:
    """Figures as they come; the file is written anew after each row."""

    def __init__(self, figures: Figures, file: Path | None) -> None:
        self._figures, self._file = figures, file

    def row(self, name: str, measure: Callable[[], Figures]) -> None:
        """Whatever one row runs into, the others are due; it is left out, with the reason."""
        try:
            told = measure()
        except Exception as why:
            self._figures["left_out"][name] = f"{type(why).__name__}: {why}"
            click.echo(f"{name:>26}  left out: {why}")
        else:
            self._figures |= told
            for key, value in told.items():
                if not isinstance(value, dict | list):
                    click.echo(f"{key:>26}  {value}")
        self._figures["settings"]["load_average_after"] = os.getloadavg()
        if self._file is not None:
            self._file.write_text(json.dumps(self._figures, indent=2) + "\n")

    def conclude(self) -> None:
        """Say what is not passed, and end with status 1 if anything is not."""
        names, left_out = missed(self._figures), self._figures["left_out"]
        if names:
            click.echo(f"missed: {', '.join(names)}", err=True)
        if left_out:
            click.echo(f"left out, not passed: {', '.join(left_out)}", err=True)
        if names or left_out:
            raise SystemExit(1)


def measure_rows(folder: Path, told: Telling, rows: Sequence[str], turns: Turns) -> None:
    """Rows of one engine after the other on one stack of it."""
    for engine in dict.fromkeys(map(_engine_of, rows)):
        own = [row for row in rows if _engine_of(row) == engine]
        if engine == INT8:
            told.row(INT8, functools.partial(measure_int8, folder, turns))
            continue
        models = dict.fromkeys(_model_of(row) for row in own)
        try:
            build = build_with(engine, folder / f"build-{engine}")
            with served(folder / engine, [MODELS[name] for name in models], build) as scene:
                for row in own:
                    told.row(row, functools.partial(_measure, scene, row, turns))
        except RuntimeError as why:
            for row in own:
                told.row(row, functools.partial(_raise, why))


def measure_hurt(
    folder: Path, told: Telling, turns: Turns, overload_seconds: float | None, kills: int | None, seed: int
) -> None:
    """Overload and kills, on the product as it is."""
    with served(folder / "product", [MODELS["resnet20_padded"]], CODE_ROOT) as scene:
        if overload_seconds is not None:
            told.row("overload_memory_growth", functools.partial(measure_overload, scene, turns, overload_seconds))
        if kills is not None:
            told.row("queries_lost", functools.partial(measure_kills, scene, kills, seed))


def _measure(scene: ServeScene, row: str, turns: Turns) -> Figures:
    if row == CONTACT:
        return first_contacts(scene)
    if row in PAIRS:
        return measure_pair(scene, row, turns)
    return measure_latency(scene, turns, _model_of(row))


def _engine_of(row: str) -> str:
    """In which build a row is measured; `INT8` needs two."""
    return PAIRS[row].engine if row in PAIRS else INT8 if row == INT8 else "bf16"


def _model_of(row: str) -> str:
    if row in PAIRS:
        return PAIRS[row].model
    return "resnet20_padded" if row == PADDED_LATENCY else "resnet20"


def _raise(why: Exception) -> Figures:
    raise why
