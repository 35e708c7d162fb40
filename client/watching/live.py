"""A job while it runs (side: owner): public figures for whoever takes part, opened reports for its owner.

An owner is who ordered the job from this identity directory. The provider of the bundle sees state, clock, members and
trust level; to everybody else the operator says `not_found.job`. Watching changes nothing: who stops may begin anew.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Final

from client.broker import BrokerLink
from client.context import Party
from client.events import Event, JobSeen, ModelSealed, ReportOpened
from client.ordering import fetch_sizes
from client.services import IngestService
from client.watching.events import JobProgressed, MemberListed, MembersListed
from client.watching.following import FINAL_STATES, watch
from client.watching.rates import Rates
from client.watching.reports import POLL_SECONDS, patiently
from common.data_shares import Share, share_of
from common.errors import Refusal, UnavailableError
from common.identifiers import JobId
from common.messages.jobs import ListMembers, Members
from common.messages.order import TrainingOrder
from common.messages.service import JobProgress, JobView

LOOKS_BETWEEN: Final = 2
"""The clock is asked for at every second poll, members at every tenth: a request to the broker each five seconds."""
LOOKS_BETWEEN_LISTS: Final = 10

Pause = Callable[[float], None]


def live(party: Party, job_id: JobId, *, pause: Pause = time.sleep) -> Iterator[Event]:
    """Follow a job to its end. Ends as `watch` does for its owner, with `JobProgressed` for anybody else.

    Raises `NotFoundError` (not_found.job) for who has no part in it, and what `watch` raises.
    """
    order = party.document("orders", job_id)
    if order is None:
        yield from _observe(_Look(party, job_id, pause), pause)
        return
    ordered = TrainingOrder.decode(order.payload)
    look, rates = _Look(party, job_id, pause), Rates(ordered, _share(party, ordered))
    for event in watch(party, job_id, pause=pause, beat=look.beat):
        over = isinstance(event, ModelSealed) or (isinstance(event, JobSeen) and _is_over_for_good(event))
        if over:
            yield rates.held(look.progress())
        yield event
        if isinstance(event, ReportOpened):
            look.reported = event.report.tick
            rate = rates.take(event.report)
            if rate is not None:
                yield rate


def _share(party: Party, order: TrainingOrder) -> Share | None:
    """What a trainer reads; None of an order of several owners, whose reports don't tell, or where data are gone."""
    if len(order.owners) > 1:
        return None
    try:
        sizes = [size for dataset_id in order.datasets for size in fetch_sizes(party, dataset_id)]
    except Refusal:
        return None
    return share_of(sizes, slot=0, trainers=order.trainers)


def _is_over_for_good(event: JobSeen) -> bool:
    return event.state in FINAL_STATES and event.model_id is None


def _observe(look: "_Look", pause: Pause) -> Iterator[Event]:
    state = ""
    while state not in FINAL_STATES:
        progress = look.progress()
        state = progress.state
        yield from look.events(progress)
        if state not in FINAL_STATES:
            pause(POLL_SECONDS * LOOKS_BETWEEN)


class _Look:
    """What is public of one job: asked for not at every poll, and told once it differs."""

    def __init__(self, party: Party, job_id: JobId, pause: Pause) -> None:
        self._party, self._job_id, self._pause = party, job_id, pause
        self._ingest = IngestService.of(party)
        self._polls, self._told = 0, dict[type[Event], Event]()
        self.reported: int | None = None

    def progress(self) -> JobProgress:
        """By the host's word, which is asked again while it is away."""
        return patiently(functools.partial(self._ingest.progress, self._job_id), self._pause)

    def beat(self, view: JobView) -> Iterator[Event]:
        """After each poll of the owner's watching."""
        if self._polls % LOOKS_BETWEEN == 0 or view.state in FINAL_STATES:
            yield from self.events(self.progress())
        else:
            self._polls += 1

    def events(self, progress: JobProgress) -> Iterator[Event]:
        """What is new."""
        new: list[Event] = [progressed(progress, self.reported)]
        if progress.begun_at is not None and (self._polls % LOOKS_BETWEEN_LISTS == 0 or progress.state in FINAL_STATES):
            new += self._members()
        self._polls += 1
        for event in new:
            if self._told.get(type(event)) != event:
                self._told[type(event)] = event
                yield event

    def _members(self) -> list[Event]:
        try:
            listed = BrokerLink(self._party).ask(ListMembers(job_id=self._job_id), Members)
        except UnavailableError:  # a broker that is away for a while is no reason to stop looking
            return []
        return [
            MembersListed(
                job_id=self._job_id,
                members=tuple(
                    MemberListed(role=one.role, slot=one.slot, attempt=one.attempt, mr_enclave=one.mr_enclave)
                    for one in listed.members
                ),
            )
        ]


def progressed(progress: JobProgress, reported: int | None = None) -> JobProgressed:
    """The clock of a job as an event. `reported`: the tick of the newest report, if one was opened."""
    schedule, seconds = progress.schedule, 0.0
    if progress.begun_at is not None:
        seconds = max(0.0, (progress.ended_at or progress.now) - progress.begun_at)
    return JobProgressed(
        job_id=progress.job_id,
        state=progress.state,
        trainers=progress.trainers,
        ticks=min(schedule.total_ticks, int(seconds / schedule.tick_seconds)) if reported is None else reported,
        total_ticks=schedule.total_ticks,
        seconds=round(seconds, 1),
        total_seconds=schedule.total_ticks * schedule.tick_seconds,
        trust_level=progress.trust_level,
    )
