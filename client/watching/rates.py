"""Rates from reports, and forecast beside fact (side: owner)."""

from typing import Final

from client.forecasting import forecast
from client.watching.events import ForecastHeld, Held, RateMeasured
from common.data_shares import Share
from common.messages.order import TrainingOrder
from common.messages.policy import JobReport
from common.messages.service import JobProgress
from common.sealed_object import CHUNK_BYTES

WINDOW: Final = 5
"""Reports over which a rate is taken: a round ends between two of them, now and then."""


class Rates:
    """What reports of one job tell together; they come in their order. `share`: what each trainer reads, if known."""

    def __init__(self, order: TrainingOrder, share: Share | None = None) -> None:
        self._order, self._schedule, self._share = order, order.schedule, share
        self._reports: list[JobReport] = []

    def take(self, report: JobReport) -> RateMeasured | None:
        """What happened in the last `WINDOW` reports; None for the first, and where a later launch counts anew."""
        before = self._reports[-min(WINDOW, len(self._reports))] if self._reports else None
        self._reports.append(report)
        if before is None:
            return None
        seconds = (report.tick - before.tick) * self._schedule.tick_seconds
        real, dummy = report.real_frames - before.real_frames, report.dummy_frames - before.dummy_frames
        rounds = report.round - before.round
        if seconds <= 0 or min(real, dummy, rounds) < 0:  # a later launch counts its own frames
            return None
        rows = rounds * self._schedule.steps_per_round * self._schedule.batch_rows * report.members_live
        return RateMeasured(
            job_id=report.job_id,
            tick=report.tick,
            round=report.round,
            loss=report.loss,
            rows_per_second=rows / seconds,
            frames_per_second=(real + dummy) / seconds,
            real_share=real / max(1, real + dummy),
        )

    def held(self, progress: JobProgress) -> ForecastHeld:
        """What the order said, and what came of it; times are the host's."""
        schedule, share = self._schedule, self._share
        known = forecast(schedule, self._order.trainers, self._order.sandbox, share)
        last = self._reports[-1] if self._reports else None
        seconds = None
        if progress.begun_at is not None and progress.ended_at is not None:
            seconds = progress.ended_at - progress.begun_at
        frames = None if last is None else float(last.real_frames + last.dummy_frames)
        read = (("data read", "bytes", known.read_bytes, None if last is None else last.read_chunks * CHUNK_BYTES),)
        figures = (
            ("time, from the first slot taken", "s", known.seconds, seconds),
            ("ticks", "", schedule.total_ticks, None if last is None else last.tick),
            ("rounds", "", schedule.rounds, None if last is None else last.round),
            ("ticks of a round", "", schedule.ticks_per_round, self._ticks_of_a_round()),
            ("ticks left when all rounds were done", "", self._slack_ticks(), self._ticks_left()),
            ("frames at the parameter server", "", known.frames, frames),
            ("of them real", "", known.needed_frames, None if last is None else last.real_frames),
            ("traffic", "bytes", known.traffic_bytes, None if frames is None else frames * schedule.frame_bytes),
            *(() if share is None else read),
        )
        return ForecastHeld(
            job_id=progress.job_id,
            figures=tuple(
                Held(what=what, unit=unit, forecast=float(before), fact=None if fact is None else float(fact))
                for what, unit, before, fact in figures
            ),
        )

    def _slack_ticks(self) -> int:
        schedule = self._schedule
        return schedule.learning_ticks - schedule.warmup_ticks - schedule.rounds * schedule.ticks_per_round

    def _ticks_of_a_round(self) -> float | None:
        """Mean between the first report of a round and the first of the last one; as exact as reports are frequent."""
        done = [one for one in self._reports if one.round > 0]
        if not done:
            return None
        first, last = done[0], next(one for one in done if one.round == done[-1].round)
        return (last.tick - first.tick) / (last.round - first.round) if last.round > first.round else None

    def _ticks_left(self) -> int | None:
        """By the first report that says that all rounds are done; None where none does."""
        all_done = [one.tick for one in self._reports if one.round >= self._schedule.rounds]
        return self._schedule.learning_ticks - all_done[0] if all_done else None
