"""Events of a check as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator

from client.checking import events as c

CheckTold = (
    c.TemplateWritten | c.StepChecked | c.CodeRaised | c.CallRefused | c.CodePrinted | c.CodeExported
    | c.CheckProfiled | c.CheckFinished | c.StepMeasured
)  # fmt: skip
Line = tuple[str, str, str]


def check_lines(event: CheckTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case c.TemplateWritten():
            yield "written", f"{event.directory}: {', '.join(event.files)}", "green"
            yield "", f"cloister provider check {event.directory}", ""
        case c.StepChecked():
            code = f" ({event.code})" if event.code else ""
            yield (
                "ok" if event.passed else "FAILED",
                f"{event.step}: {event.text}{code}",
                "green" if event.passed else "red",
            )
            if event.mend is not None:
                yield "", event.mend, ""
        case c.CodeRaised():
            yield from (
                ("raised" if not number else "", line, "red") for number, line in enumerate(event.text.splitlines())
            )
            yield from _advice(event.instead)
        case c.CallRefused():
            what = event.call if event.path is None else f"{event.call} {event.path}"
            yield "refused", f"{what}, {event.count} times, {event.at or 'by a library'}", "yellow"
            yield from _advice(event.instead)
        case c.CodePrinted():
            yield from (
                ("printed" if not number else "", line, "dim") for number, line in enumerate(event.text.splitlines())
            )
            yield from _advice("in a job this goes nowhere")
        case c.CodeExported(exports=True):
            yield "served", f"by trusted code, as a graph of {event.text}", ""
        case c.CodeExported():
            yield "served", "by this code, in a new process for each query: it exports to no graph", ""
            yield "", event.text, ""
        case c.CheckProfiled() | c.StepMeasured():
            yield from _figures(event)
        case c.CheckFinished():
            yield "checked", "it would run in a job" if event.passed else "it would not run in a job", "bold"


def _advice(words: str | None) -> Iterator[Line]:
    if words is not None:
        yield "", words, ""


def _figures(event: c.CheckProfiled | c.StepMeasured) -> Iterator[Line]:
    match event:
        case c.CheckProfiled():
            yield "memory", f"{event.peak_bytes >> 20:,} MiB at most, of {event.limit_bytes >> 20:,} MiB", ""
            yield "step", f"{event.step_milliseconds:.1f} ms for {event.batch} rows", ""
            if event.query_milliseconds is not None:
                yield "query", f"{event.query_milliseconds:.0f} ms for {event.query_rows} rows", ""
        case c.StepMeasured():
            speed = f"a machine that takes {event.reference_microseconds / 1000:.2f} ms for a reference step"
            yield "step", f"{event.step_milliseconds:.2f} ms for {event.rows} rows, on {speed}", ""
            fixed, row = event.published.fixed_microseconds, event.published.row_nanoseconds
            yield (
                "public",
                f"at most {fixed:,} us and {row:,} ns a row, on one that takes 1 ms: 11 bits of this code",
                "",
            )
