"""Which models are placed here, and keeping them so (side: host).

The registry says which models there are; a Celery task only makes this look sooner. A place of a model (streams) is
served by one worker at a time, the holder of its lease in Redis. A model has one, and more where its questions wait
(sharing). A launch that ended is
placed again after a pause that doubles; one whose placement is about to expire is replaced. A model that the broker
refuses by a party's terms (revoked, expired) takes no place, and is tried again much later.

Models that users asked for lately come first, and where there are more models than places, put out one that nobody
asks for. Of the others only the newest few are placed ahead, since each costs a process with torch; an older one
comes up when it is asked for. A worker is ready when those that are asked for are placed; the others come up
meanwhile. One that does not come up (a damaged object, say) is waited for `WAITED_SECONDS`; after that the worker
counts as ready without it, names it in /readyz, and goes on trying.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client.metrics_core import Metric
from redis.exceptions import RedisError

from common.errors import CloisterError, PolicyError, Refusal
from common.event_log import log_event
from common.identifiers import JobId, ModelId
from common.untrusted.metrics import gauge
from services.query_enclave.leases import Leases
from services.query_enclave.sharing import Sharing
from services.query_enclave.streams import model_of

_log = logging.getLogger("query.worker")

LOOK_SECONDS: Final = 2.0
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
REFUSED_PAUSE_SECONDS: Final = 600.0
WAITED_SECONDS: Final = 20.0
"""A few tries: a broker that has just started thaws in them."""

RENEW_BEFORE_SECONDS: Final = 120
"""A placement is replaced this long before it expires."""


class Launched(Protocol):
    """A placed model, as far as its upkeep goes."""

    proof: bytes
    not_after: int

    @property
    def alive(self) -> bool:
        """Whether it answers."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


Launch = Callable[[str, JobId, Callable[[], None]], Launched]
"""Place, job that made its model, what to call at its end."""
Models = Callable[[], dict[ModelId, JobId]]


@dataclass
class _Place:
    launched: Launched | None = None
    empty_since: float = field(default_factory=time.monotonic)
    failure: str | None = None  # code of the last try
    pause: float = FIRST_PAUSE_SECONDS
    try_at: float = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is empty, and its next try is now."""
        return self.launched is None and time.monotonic() >= self.try_at


class Placements:
    """Keeps models placed: those that are asked for, and the newest `ahead` of the others; all, if that is None.

    When all is placed that is due, it does what is to be done to `prepare` for the next.

    `run` until `stop`, on a thread that lives as long as the worker.
    """

    def __init__(
        self,
        models: Models,
        launch: Launch,
        leases: Leases,
        *,
        capacity: int,
        ahead: int | None = None,
        sharing: Sharing | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._models, self._launch, self._leases, self._capacity = models, launch, leases, capacity
        self._ahead, self._sharing, self._prepare = ahead, sharing, prepare
        self._places: dict[str, _Place] = {}
        self._refused_until: dict[str, float] = {}
        self._asked: list[ModelId] = []
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._looked = False

    @property
    def settled(self) -> bool:
        """Whether all is served here that is asked for and can be, as far as was found out within `WAITED_SECONDS`."""
        return self._looked and not self.missing

    @property
    def missing(self) -> tuple[ModelId, ...]:
        """Models that are asked for and waited for."""
        patience_ends = time.monotonic() - WAITED_SECONDS
        asked = [(name, place) for name in self._asked if (place := self._places.get(name)) is not None]
        return tuple(
            name
            for name, place in asked
            if place.launched is None and (place.failure is None or place.empty_since > patience_ends)
        )

    @property
    def failures(self) -> dict[str, str]:
        """Models that could not be placed at the last try, each with the public code."""
        return {name: place.failure for name, place in list(self._places.items()) if place.failure is not None}

    def metrics(self) -> Iterator[Metric]:
        """How many models have a place here, by whether they answer."""
        answering = [place.launched is not None for place in list(self._places.values())]
        states = {"placed": float(sum(answering)), "empty": float(len(answering) - sum(answering))}
        yield gauge(
            "cloister_models", "Models that have a place at this worker, by state (placed, empty).", "state", states
        )

    def nudge(self) -> None:
        """Look at the registry now."""
        self._wake.set()

    def run(self) -> None:
        """Look, place, renew, replace, until stopped; then end all launches."""
        while not self._stopped.is_set():
            try:
                self.reconcile()
                self._prepare()
            except Exception as error:  # whatever one look ran into, the next one is due
                log_event(_log, "placements_delayed", logging.WARNING, reason=type(error).__name__)
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
        for model_id in list(self._places):
            self._drop(model_id)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()
        self._wake.set()

    def reconcile(self) -> None:
        """What should be placed here, and is not, gets placed, with a look before each; what should not, is ended."""
        while (due := self._look()) is not None and not self._stopped.is_set():
            self._place(*due)

    def _look(self) -> tuple[str, JobId] | None:
        """End what is not wanted; the first place that has room here and whose launch is due."""
        models = {name: job for name, job in self._models().items() if not self._is_refused(name)}
        self._asked = [model_id for model_id in self._leases.asked() if model_id in models]
        further = self._further_places(models)
        wanted = dict[str, JobId](models.items()) | {place: models[model_of(place)] for place in further}
        for model_id in self._places.keys() - wanted.keys():
            self._drop(model_id)
        candidates = (*self._asked, *further, *self._placed_ahead(models))
        for model_id in self._places.keys() - set(candidates):
            launched = self._places[model_id].launched
            if launched is None or not self._is_good(launched):
                self._drop(model_id)
        due = next((one for one in candidates if self._is_due(one)), None)
        self._looked |= due not in self._asked
        return None if due is None else (due, wanted[due])

    def _further_places(self, models: dict[ModelId, JobId]) -> list[str]:
        if self._sharing is None:
            return []
        held = [place for place in self._places if model_of(place) in models]
        return [one for one in self._sharing.further_places(self._asked, held) if not self._is_refused(one)]

    def _placed_ahead(self, wanted: dict[ModelId, JobId]) -> list[ModelId]:
        """Of those that nobody asks for, the newest, in the registry's order."""
        unasked = [model_id for model_id in wanted if model_id not in self._asked]
        return unasked if self._ahead is None else unasked[max(0, len(unasked) - self._ahead) :]

    def _is_due(self, place: str) -> bool:
        return self._has_room(place) and self._keep(place) and self._places[place].is_due

    def _is_refused(self, place: str) -> bool:
        return time.monotonic() < self._refused_until.get(place, 0.0)

    def _has_room(self, place: str) -> bool:
        """Whether it has a place or may take one; one that is asked for may put out one that is not."""
        if place in self._places or len(self._places) < self._capacity:
            return True
        idle = [name for name in self._places if model_of(name) not in self._asked]
        if (
            model_of(place) not in self._asked or not idle or not self._leases.hold(place)
        ):  # another worker may serve it
            return False
        self._drop(min(idle, key=lambda name: self._places[name].launched is not None))
        return True

    def _keep(self, place: str) -> bool:
        """Whether it has its place here; a launch that is no good any more is ended."""
        if not self._leases.hold(place):
            self._drop(place)
            return False
        kept = self._places.setdefault(place, _Place())
        if kept.launched is not None and not self._is_good(kept.launched):
            self._end(kept)
            self._leases.withdraw(place)
        return True

    def _is_good(self, launched: Launched) -> bool:
        return launched.alive and time.time() < launched.not_after - RENEW_BEFORE_SECONDS

    def _place(self, place: str, job_id: JobId) -> None:
        kept = self._places[place]
        try:
            kept.launched = self._launch(place, job_id, self.nudge)
            kept.pause, kept.failure = FIRST_PAUSE_SECONDS, None
            self._leases.publish(place, kept.launched.proof)
        except PolicyError as refusal:
            self._refused_until[place] = time.monotonic() + REFUSED_PAUSE_SECONDS
            log_event(_log, "model_refused", model_id=model_of(place), code=refusal.code)
            self._drop(place)
        except (CloisterError, TimeoutError, OSError) as error:
            kept.failure = error.code if isinstance(error, Refusal) else "unavailable.enclave"
            kept.try_at = time.monotonic() + kept.pause
            kept.pause = min(2 * kept.pause, LONGEST_PAUSE_SECONDS)
            log_event(
                _log,
                "model_not_placed",
                logging.WARNING,
                model_id=model_of(place),
                code=kept.failure,
                reason=type(error).__name__,
                seconds=kept.pause,
            )

    def _drop(self, place: str) -> None:
        ended = self._places.pop(place, None)
        if ended is not None:
            self._end(ended)
            with contextlib.suppress(RedisError):
                self._leases.release(place)

    def _end(self, place: _Place) -> None:
        if place.launched is not None:
            place.launched.stop()
            place.launched, place.empty_since = None, time.monotonic()
