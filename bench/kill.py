"""`./cloister bench kill`: random processes of a private stack die at random moments of tiny jobs (side: owner).

Each round is played and judged as bench/kill_driver says, while a user asks all the time. The loop stops at the first
round in which something did not hold; the same seed draws the same victims and moments again.
"""

import json
import random
import secrets
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from bench.kill_driver import Round
from bench.kill_scene import Scene, played_on
from bench.kill_victims import VICTIMS

COUNTS: Final = (1, 2, 2, 3)
"""How many die in one job, each as likely."""


def victims_of(seed: int, number: int) -> list[str]:
    """The victims of one round."""
    chance = random.Random(f"{seed}: victims of {number}")
    return chance.sample(sorted(VICTIMS), chance.choice(COUNTS))


def play(scene: Scene, seed: int, rounds: int) -> tuple[list[Round], list[str]]:
    """Rounds until the first problem; what was played, and the problems of the last one."""
    played: list[Round] = []
    for number in range(rounds):
        names = victims_of(seed, number)
        click.echo(f"round {number} of seed {seed}: {', '.join(names)}")
        played.append(scene.driver.round(names, f"{seed}: {number}"))
        click.echo(f"  {played[-1]}")
        problems = [*played[-1].problems, *scene.asker.problems()]
        if problems:
            return played, problems
    return played, []


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Jobs to be played.")
@click.option("--seed", type=int, help="Of all victims and moments; drawn and printed when it is not given.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rounds there.")
def kill(rounds: int, seed: int | None, json_file: Path | None) -> None:
    """Kill processes of a private stack while jobs run, and see that nothing is lost."""
    chosen = secrets.randbits(32) if seed is None else seed
    begun, directory = time.monotonic(), Path(tempfile.mkdtemp(prefix="cloister-kill-"))
    with played_on(directory / "state", directory / "parties", rounds) as scene:
        played, problems = play(scene, chosen, rounds)
        answered = scene.asker.answered
    figures = {
        "seed": chosen,
        "rounds": [asdict(one) for one in played],
        "answers": answered,
        "problems": problems,
        "wall_seconds": round(time.monotonic() - begun, 1),
    }
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    deaths = sum(len(one.kills) for one in played)
    click.echo(f"{len(played)} jobs, {deaths} deaths, {answered} answers in {figures['wall_seconds']} s")
    if problems:
        click.echo(f"did not hold, with --seed {chosen}: {'; '.join(problems)}; logs in {directory}/state/logs")
        raise SystemExit(1)
    shutil.rmtree(directory)
