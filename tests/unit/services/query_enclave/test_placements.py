"""More models than places: who is asked for is served."""

import time
from collections.abc import Callable

from redis import Redis

from common.errors import PolicyError, UnavailableError
from common.identifiers import JobId, ModelId
from services.query_enclave.leases import Leases
from services.query_enclave.placements import Placements

MODELS = [ModelId("model_" + f"{number:032x}") for number in range(4)]
JOB = JobId("job_" + "0" * 32)


class OwnLeases(Leases):
    """Leases without Redis; what is served `elsewhere` is not to be had."""

    def __init__(self) -> None:
        super().__init__(Redis(), "query-1")
        self.names: list[ModelId] = []
        self.elsewhere: set[ModelId] = set()

    def asked(self) -> list[ModelId]:
        return self.names

    def hold(self, model_id: ModelId) -> bool:
        return model_id not in self.elsewhere

    def publish(self, model_id: ModelId, proof: bytes) -> None:
        pass

    def withdraw(self, model_id: ModelId) -> None:
        pass

    def release(self, model_id: ModelId) -> None:
        pass


class Placed:
    """A launch that lives until it is stopped."""

    proof = b""

    def __init__(self, served: set[ModelId], model_id: ModelId) -> None:
        self.not_after, self.alive = int(time.time()) + 3600, True
        self._served, self._model_id = served, model_id
        served.add(model_id)

    def stop(self) -> None:
        self.alive = False
        self._served.discard(self._model_id)


class Worker:
    """Placements with two places, and what they serve."""

    def __init__(self, known: int) -> None:
        self.leases = OwnLeases()
        self.known = dict.fromkeys(MODELS[:known], JOB)
        self.served: set[ModelId] = set()
        self.revoked: set[ModelId] = set()
        self.broken: set[ModelId] = set()
        self.placements = Placements(lambda: self.known, self._launch, self.leases, capacity=2)

    def _launch(self, model_id: ModelId, _job: JobId, _on_exit: Callable[[], None]) -> Placed:
        if model_id in self.revoked:
            raise PolicyError("policy.revoked")
        if model_id in self.broken:
            raise UnavailableError("unavailable.enclave")
        return Placed(self.served, model_id)

    def look(self, *asked: ModelId) -> set[ModelId]:
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
    assert worker.look() == {MODELS[1]}
    assert worker.placements.missing == (MODELS[0],)
