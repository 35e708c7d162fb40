"""What the watched run told, as events for a person (side: owner). It explains verdicts, and makes none."""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from client.checking import events as c
from client.checking.advice import MODULE, call_name, instead_of, instead_of_file
from client.checking.runs import CheckWishes, RunsOfBoth, Told
from common.bundle import BundleManifest
from common.sandboxed.wire import Operation

MOST_SHOWN: Final = 16
"""Refusals, names of tensors, and lines that were printed in a step."""


def raised_events(told: Told) -> Iterator[c.CodeRaised]:
    """Exceptions, with the provider's own frames."""
    for step, line in told:
        if line["kind"] == "raised":
            error = str(line.get("error"))
            yield c.CodeRaised(step=step, error=error, text=str(line.get("text")), instead=module_advice(error))


def refusal_events(told: Told) -> list[c.CallRefused]:
    """Calls that the filter refused, and files that are not there or can't be written; each place once."""
    calls = Counter((step, line["call"], line["at"]) for step, line in told if line["kind"] == "refused")
    files = Counter((step, line["path"], line["writes"], line["at"]) for step, line in told if line["kind"] == "file")
    refused = []
    for (step, number, at), count in calls.items():
        name = call_name(number)
        refused.append(c.CallRefused(step=step, call=name, count=count, at=at, instead=instead_of(name)))
    for (step, path, writes, at), count in files.items():
        words = instead_of_file(path, writes=writes)
        refused.append(c.CallRefused(step=step, call="open", count=count, at=at, path=path, instead=words))
    return refused


def printed_events(told: Told) -> Iterator[c.CodePrinted]:
    """What was printed, in each step, line by line."""
    lines = [(step, str(line["text"])) for step, line in told if line["kind"] == "printed"]
    for step in dict.fromkeys(step for step, _ in lines):
        text = [line for told_of, line in lines if told_of == step]
        more = [f"... and {len(text) - MOST_SHOWN} more lines"] if len(text) > MOST_SHOWN else []
        yield c.CodePrinted(step=step, text="\n".join([*text[:MOST_SHOWN], *more]))


def profile(runs: RunsOfBoth, wishes: CheckWishes, manifest: BundleManifest) -> c.CheckProfiled | None:
    """What the runs took; None where no round was done."""
    units = [line for _, line in runs.watched.told if line["kind"] == "unit"]
    steps = [one["seconds"] / wishes.steps for one in units if one["operation"] == Operation.ROUND]
    if not steps:
        return None
    queries = runs.plain.query_seconds
    return c.CheckProfiled(
        peak_bytes=max(int(one["peak_bytes"]) for one in units),
        limit_bytes=wishes.limits.memory_bytes,
        batch=wishes.batch,
        step_milliseconds=1000 * statistics.median(steps),
        query_rows=manifest.query_rows,
        query_milliseconds=1000 * statistics.median(queries) if queries else None,
    )


def reason(told: Told, step: c.Step) -> str | None:
    """Why a step failed, as far as it was told."""
    for told_of, line in reversed(told):
        if told_of != step:
            continue
        match line["kind"]:
            case "raised":
                return str(line["text"]).strip().splitlines()[-1]
            case "layout":
                return f"the state has another layout than when it was packed: {_names(line)}"
            case "not-finite":
                return f"not finite: {_names(line)}"
            case "answer":
                return f"an answer of shape {line['seen']}, declared is {line['expected']}"
    return None


def module_advice(error: str) -> str | None:
    """What to do about a module that is not there."""
    return MODULE if error in {"ModuleNotFoundError", "ImportError"} else None


def _names(line: dict[str, Any]) -> str:
    names = list(map(str, line["names"]))
    return ", ".join(names[:MOST_SHOWN]) + (" ..." if len(names) > MOST_SHOWN else "")
