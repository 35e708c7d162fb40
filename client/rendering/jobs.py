"""Events of jobs as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator
from datetime import UTC, datetime

from client import events as e
from client.rendering.words import Line, told_words, trust_line
from common.messages.order import AnswerTerms

JobTold = (
    e.OrderPreview | e.Calibrated | e.JobForecast | e.OrderAccepted | e.JobSeen | e.ModelSealed | e.ProviderReportRead
)


def job_lines(event: JobTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.OrderPreview():
            yield from _preview_lines(event)
        case e.Calibrated():
            by = "its publication" if event.source == "publication" else "a stand-in of its size"
            machines = f"{event.machines} trainer machines, {event.slowness:.2f} times a standard step"
            yield "step", f"{event.step_milliseconds} ms, by {by}; {machines}", ""
            ticks = f"{event.tick_milliseconds} ms, {event.ticks_per_round} a round"
            rest = f"warm-up {event.warmup_seconds:.0f} s, slack {event.slack_percent} %"
            yield "ticks", f"{ticks}; {event.reads_per_tick} chunks read at each; {rest}", ""
        case e.JobForecast():
            yield from _forecast_lines(event)
        case e.OrderAccepted():
            yield "order", f"{event.job_id}, {event.trainers} trainers", ""
        case e.JobSeen():
            extra = "".join(
                f"  {name} {value}" for name, value in (("code", event.code), ("model", event.model_id)) if value
            )
            yield "job", f"{event.job_id}  {event.state}  {event.trainers} trainers{extra}", ""
            if event.mend is not None:
                yield "", event.mend, ""
        case e.ModelSealed():
            told = "" if event.outcome is None else f"  {event.outcome} after {event.rounds_done} rounds"
            yield "model", event.model_id + told, ""
            yield "manifest", event.manifest, ""
            yield trust_line(event.trust_level)
        case e.ProviderReportRead():
            day = datetime.fromtimestamp(event.ordered, UTC).date()
            yield event.outcome or "no report", f"{event.job_id}  ordered {day}", ""
            if event.told is not None:
                yield "", told_words(event.told), ""
            elif event.outcome is not None:
                yield "", "the owners' policies do not let a provider know more", "dim"


def _preview_lines(event: e.OrderPreview) -> Iterator[Line]:
    frames = f"{event.frames:,} frames of {event.frame_bytes:,} bytes ({event.traffic_bytes:,} bytes)"
    seen = f"{event.total_ticks} ticks in {event.seconds:.0f} s, {frames}"
    yield "order", f"the host will see: {seen}, whatever happens in the job", ""
    bits = f"{event.schedule_bits} bits by its end, and is charged {event.attempt_bits}"
    yield "", f"a trainer's launch can tell {bits}; not bounded: {', '.join(event.open_channels)}", ""
    if event.report_bits:
        yield "", f"the provider can be told {event.report_bits} bits at the job's end, by your policy", ""
    if event.answer_timing == "immediate":
        yield "", "answers of the model leave when they are ready: provider code may not give them", ""
    if event.answers.lowest != "float32":
        yield "", precision_words(event.answers), ""
    if event.device != "cpu":
        yield "", "trained on GPUs: rows and weights lie in their memory in the clear (docs/gpu.md)", ""


def precision_words(answers: AnswerTerms) -> str:
    """What an order says of the precision of answers."""
    if answers.lowest != "int8":
        return f"answers may be computed in {answers.lowest}"
    share, most = answers.held_out_percent, answers.most_drop_points
    return f"answers in int8 if it costs {most:g} points of top-1 at most, by {share} % of the rows, held out for it"


def _forecast_lines(event: e.JobForecast) -> Iterator[Line]:
    schedule = event.schedule
    rounds = f"{schedule.rounds} rounds of {schedule.steps_per_round} steps of {schedule.batch_rows} rows"
    yield "forecast", f"{rounds}, {event.trainers} trainers, a state of at most {schedule.state_class:,} values", "bold"
    ticks = f"{schedule.total_ticks} ticks of {schedule.tick_milliseconds} ms"
    parts = f"{schedule.warmup_ticks} to start, {schedule.ticks_per_round} a round, slack {schedule.slack_percent} %"
    yield "", f"{ticks}: {parts}", ""
    work = f"{event.work_seconds:.0f} s ({event.work_seconds / event.seconds:.0%}) for the provider's code"
    yield "time", f"{event.seconds:.0f} s, of which {work}", ""
    yield "bytes", f"{event.traffic_bytes:,} of frames, {event.read_bytes:,} of data read", ""
    for cost in event.costs:
        yield "costs", f"{cost.protection:<20} {cost.seconds:>7.1f} s {cost.bytes:>15,} bytes  {cost.words}", ""
