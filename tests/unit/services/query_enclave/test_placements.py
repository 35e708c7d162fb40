"""More models than places: who is asked for is served."""

import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest
from redis import Redis

from common.errors import AuthenticityError, PolicyError, UnavailableError
from common.identifiers import JobId, ModelId
from common.untrusted.enclave_probe import EnclaveProbe
from common.untrusted.health import Readiness
from services.query_enclave.leases import Leases
from services.query_enclave.placements import FIRST_PAUSE_SECONDS, Placements
from services.query_enclave.sharing import Sharing
from services.query_enclave.streams import place_of
from services.query_enclave.worker import enclave_checks

MODELS = [ModelId("model_" + f"{number:032x}") for number in range(4)]
JOB = JobId("job_" + "0" * 32)


class OwnLeases(Leases):
    """Leases without Redis; what is served `elsewhere` is not to be had."""

    def __init__(self) -> None:
        super().__init__(Redis(), "query-1")
        self.names: list[ModelId] = []
        self.elsewhere: set[str] = set()

    def asked(self) -> list[ModelId]:
        return self.names

    def hold(self, place: str) -> bool:
        return place not in self.elsewhere

    def publish(self, place: str, proof: bytes) -> None:
        pass

    def withdraw(self, place: str) -> None:
        pass

    def release(self, place: str) -> None:
        pass


class Placed:
    """A launch that lives until it is stopped."""

    proof = b""

    def __init__(self, served: set[str], place: str) -> None:
        self.not_after, self.alive = int(time.time()) + 3600, True
        self._served, self._place = served, place
        served.add(place)

    def stop(self) -> None:
        self.alive = False
        self._served.discard(self._place)


class Worker:
    """Placements with two places, and what they serve."""

    def __init__(self, known: int, ahead: int | None = None, sharing: Sharing | None = None) -> None:
        self.leases = OwnLeases()
        self.known = dict.fromkeys(MODELS[:known], JOB)
        self.served: set[str] = set()
        self.revoked: set[str] = set()
        self.broken: set[str] = set()
        self.damaged: set[str] = set()
        self.launches: dict[str, Placed] = {}
        self.missing_at_launch: tuple[ModelId, ...] = ()
        self.asked_at_launch: list[ModelId] = []
        self.placements = Placements(
            lambda: self.known, self._launch, self.leases, capacity=2, ahead=ahead, sharing=sharing
        )

    def _launch(self, place: str, _job: JobId, _on_exit: Callable[[], None]) -> Placed:
        self.missing_at_launch = self.placements.missing
        self.leases.names += self.asked_at_launch
        if place in self.revoked:
            raise PolicyError("policy.revoked")
        if place in self.broken:
            raise UnavailableError("unavailable.enclave")
        if place in self.damaged:
            raise AuthenticityError("authenticity.sealed_object")
        self.launches[place] = Placed(self.served, place)
        return self.launches[place]

    def kill(self, model_id: ModelId) -> None:
        """Its enclave ends by itself."""
        self.launches[model_id].stop()

    def look(self, *asked: ModelId) -> set[str]:
        self.leases.names = list(asked)
        self.placements.reconcile()
        return set(self.served)


def test_there_is_room_for_the_first_models() -> None:
    assert Worker(4).look() == set(MODELS[:2])


def test_a_model_that_is_asked_for_puts_out_one_that_is_not() -> None:
    worker = Worker(4)
    worker.look()
    assert worker.look(MODELS[3], MODELS[0]) == {MODELS[0], MODELS[3]}
    assert worker.look(MODELS[3], MODELS[0]) == {MODELS[0], MODELS[3]}


def test_models_that_are_all_asked_for_keep_their_places() -> None:
    worker = Worker(4)
    worker.look(MODELS[0], MODELS[1])
    assert worker.look(MODELS[3], MODELS[0], MODELS[1]) == {MODELS[0], MODELS[1]}


def test_after_a_start_those_come_first_that_were_asked_for_last() -> None:
    assert Worker(4).look(MODELS[3], MODELS[2], MODELS[1]) == {MODELS[2], MODELS[3]}


def test_of_those_that_nobody_asks_for_the_newest_alone_come_up() -> None:
    worker = Worker(3, ahead=1)
    assert worker.look() == {MODELS[2]}
    worker.known[MODELS[3]] = JOB
    assert worker.look() == {MODELS[2], MODELS[3]}, "what is up stays up"
    worker.kill(MODELS[2])
    assert worker.look() == {MODELS[3]}
    assert worker.look(MODELS[0]) == {MODELS[0], MODELS[3]}


def test_a_model_that_another_worker_serves_puts_out_nobody() -> None:
    worker = Worker(4)
    worker.look()
    worker.leases.elsewhere = {MODELS[3]}
    assert worker.look(MODELS[3]) == set(MODELS[:2])


def test_names_that_the_registry_does_not_know_take_no_place() -> None:
    assert Worker(2).look(MODELS[3]) == set(MODELS[:2])


def test_a_model_that_left_the_registry_makes_room() -> None:
    worker = Worker(3)
    worker.look()
    del worker.known[MODELS[0]]
    assert worker.look() == {MODELS[1], MODELS[2]}


def test_a_revoked_model_is_not_missing_and_takes_no_place() -> None:
    worker = Worker(3)
    worker.revoked.add(MODELS[0])
    assert worker.look() == {MODELS[1], MODELS[2]}
    assert worker.placements.missing == ()


def test_a_model_whose_enclave_fails_is_missing() -> None:
    worker = Worker(2)
    worker.broken.add(MODELS[0])
    assert worker.look(MODELS[0]) == {MODELS[1]}
    assert worker.placements.missing == (MODELS[0],)


def test_a_damaged_model_is_waited_for_a_while_then_named_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(2)
    worker.damaged.add(MODELS[0])
    assert not worker.placements.settled
    assert worker.look(MODELS[0]) == {MODELS[1]}
    assert not worker.placements.settled
    monkeypatch.setattr("services.query_enclave.placements.WAITED_SECONDS", 0.0)
    assert worker.placements.settled
    assert worker.placements.failures == {MODELS[0]: "authenticity.sealed_object"}
    worker.damaged.clear()
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + FIRST_PAUSE_SECONDS)
    assert worker.look() == set(MODELS[:2])
    assert worker.placements.failures == {}


def test_a_model_that_was_not_tried_yet_is_waited_for_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.query_enclave.placements.WAITED_SECONDS", 0.0)
    worker = Worker(1)
    worker.look(MODELS[0])
    assert worker.missing_at_launch == (MODELS[0],)
    assert worker.placements.settled


def test_a_model_that_nobody_asks_for_is_not_waited_for() -> None:
    worker = Worker(2)
    worker.broken.update(MODELS[:2])
    worker.look(MODELS[1])
    assert worker.placements.missing == (MODELS[1],)


def test_who_is_asked_for_while_others_start_is_next() -> None:
    worker = Worker(4)
    worker.asked_at_launch = [MODELS[2]]
    assert worker.look() == {MODELS[0], MODELS[2]}


class Shares(Sharing):
    """Further places that a test names."""

    def __init__(self, *further: str) -> None:
        self.further, self.held = list(further), list[str]()

    def further_places(self, asked: Iterable[ModelId], held: Collection[str]) -> list[str]:  # noqa: ARG002 - as named
        self.held = sorted(held)
        return self.further


def test_a_further_place_of_a_busy_model_is_taken_where_there_is_room_and_left_when_it_is_wanted_no_more() -> None:
    first, second = (place_of(MODELS[0], number) for number in (1, 2))
    worker = Worker(2, ahead=0, sharing=(shares := Shares(first, second)))
    worker.leases.elsewhere = {MODELS[0], first}
    assert worker.look(MODELS[0]) == {second}, "others have the first two"
    shares.further = [second]
    assert worker.look(MODELS[0]) == {second}
    assert shares.held == [second]
    shares.further = []
    assert worker.look(MODELS[0]) == set()


def test_a_further_place_puts_out_a_model_that_nobody_asks_for_and_no_other() -> None:
    further = place_of(MODELS[0], 1)
    worker = Worker(3, sharing=(shares := Shares()))
    worker.leases.elsewhere = {MODELS[0]}
    assert worker.look() == {MODELS[1], MODELS[2]}
    shares.further = [further]
    assert worker.look(MODELS[0], MODELS[1]) == {MODELS[1], further}
    worker = Worker(3, sharing=Shares(further))
    worker.leases.elsewhere = {MODELS[0]}
    assert worker.look(MODELS[0], MODELS[1], MODELS[2]) == {MODELS[1], MODELS[2]}


class Probe(EnclaveProbe):
    """A probe of which only the outcome counts."""

    def __init__(self, *, passed: bool, failure: str | None = None) -> None:
        super().__init__("query", Path("/nowhere"))
        self.passed, self.failure = passed, failure


@pytest.mark.parametrize(
    ("probe", "waiting_for"),
    [
        (Probe(passed=True), []),
        (Probe(passed=False), ["enclave"]),
        (Probe(passed=False, failure="unavailable.launcher"), ["enclave"]),
        (Probe(passed=False, failure="confinement.user_namespaces"), ["enclave", "confinement"]),
    ],
)
def test_a_worker_without_models_is_ready_once_its_enclaves_confine(probe: Probe, waiting_for: list[str]) -> None:
    worker = Worker(0)
    worker.look()
    assert Readiness(enclave_checks(probe, worker.placements)).waiting_for() == waiting_for
