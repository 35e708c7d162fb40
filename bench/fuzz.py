"""`./cloister bench fuzz`: a coverage-guided fuzzer looks for bytes that a parser cannot bear (side: owner).

Every parser of tests/parsers gets its share of the time in a process of its own, from the seeds of tests/vectors.
Keys of the JSON file: `seconds`, `findings`, `executions`; `parsers`: of each one its executions, and the bytes (in
hexadecimal) and last words of its finding, if there is one. A finding becomes a vector and a fix.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

UNIT_SECONDS: Final = 10
"""A single input that takes longer is a finding."""

MEMORY_MIB: Final = 3072
MAX_INPUT_BYTES: Final = 1 << 16
_GRACE_SECONDS: Final = 600
"""For imports, and for the last input, also on a busy machine."""

_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_LAST_WORDS: Final = re.compile(r"^(?:\S*Finding: .*|==\d+== ?ERROR: .*|Fatal Python error.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fuzzed:
    """What became of one parser."""

    executions: int
    input_hex: str | None = None
    words: str | None = None


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=600, show_default=True, help="For all parsers together.")
@click.option("--parser", "names", multiple=True, help="Only this one (tests/parsers); may be repeated.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def fuzz(seconds: int, names: tuple[str, ...], json_file: Path | None) -> None:
    """Look for bytes that crash a parser, or that it reads and should not."""
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException("atheris is missing: `./cloister bench fuzz` installs requirements/fuzz.txt")
    from tests.parsers.table import PARSERS

    if unknown := set(names) - set(PARSERS):
        raise click.ClickException(f"no parser {', '.join(sorted(unknown))}: choose from {', '.join(PARSERS)}")
    chosen = names or tuple(PARSERS)
    found: dict[str, Fuzzed] = {}
    for name in chosen:
        found[name] = _fuzz_one(name, PARSERS[name].seeds, max(1, seconds // len(chosen)))
        click.echo(f"{name:>24}  {found[name].executions:>10}  {found[name].words or ''}")
    findings = sum(one.words is not None for one in found.values())
    executions = sum(one.executions for one in found.values())
    if json_file is not None:
        parsers = {name: asdict(one) for name, one in found.items()}
        figures = {"seconds": seconds, "findings": findings, "executions": executions, "parsers": parsers}
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    raise SystemExit(1 if findings else 0)


def _fuzz_one(name: str, seeds: tuple[bytes, ...], seconds: int) -> Fuzzed:
    with tempfile.TemporaryDirectory(prefix="cloister-fuzz-") as place:
        corpus, artifacts = Path(place, "corpus"), Path(place, "artifacts")
        corpus.mkdir()
        artifacts.mkdir()
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-P", "-m", "bench.fuzz_target", name, *_options(seconds, artifacts), str(corpus)]
        limit = seconds + UNIT_SECONDS + _GRACE_SECONDS
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, check=False, timeout=limit)
        except subprocess.TimeoutExpired:
            return Fuzzed(0, next(_inputs(artifacts), None), f"the fuzzer itself did not end within {limit} s")
        told = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
        executed = _EXECUTED.search(told)
        left = next(_inputs(artifacts), None)
        if done.returncode == 0:
            return Fuzzed(int(executed[1]) if executed else 0)
        words = _LAST_WORDS.findall(told)
        return Fuzzed(int(executed[1]) if executed else 0, left, words[-1] if words else told[-300:])


def _options(seconds: int, artifacts: Path) -> Iterator[str]:
    yield f"-max_total_time={seconds}"
    yield f"-timeout={UNIT_SECONDS}"
    yield f"-rss_limit_mb={MEMORY_MIB}"
    yield f"-max_len={MAX_INPUT_BYTES}"
    yield f"-artifact_prefix={artifacts}/"
    yield "-print_final_stats=1"


def _inputs(artifacts: Path) -> Iterator[str]:
    for path in sorted(artifacts.iterdir()):
        yield path.read_bytes().hex()
