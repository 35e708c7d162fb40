"""One query enclave and the stream that it answers (side: host).

`QueryRelay.start` launches the enclave, asks it to place a model, and lets questions through from then on. What it
carries is sealed; what it holds is the proof, which is public.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from redis import Redis

from common.door import Handler
from common.event_log import log_event
from common.identifiers import JobId
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.query import PlaceModel
from common.untrusted.relay import EnclaveRelay
from services.query_enclave.question_reader import QuestionReader
from services.query_enclave.slots import Slots
from services.query_enclave.spare import OnExit, SpareEnclave
from services.query_enclave.streams import model_of

_log = logging.getLogger("query.worker")

PLACE_SECONDS: Final = 180.0
"""A launch attests, opens its model and starts a sandbox that imports torch, on a machine that may be busy."""

DOOR_WORKERS: Final = 8


@dataclass(frozen=True)
class Service:
    """What all relays of a worker share: launcher settings, door handlers, Redis, the worker's name, slots, and the
    spare enclave, if it keeps one.
    """

    launcher: Path
    handlers: Mapping[str, Handler]
    redis: Redis
    worker_name: str
    slots: Slots | None = None
    spare: SpareEnclave | None = None

    def enclave(self, on_exit: OnExit) -> EnclaveRelay:
        """One that serves nothing yet: the spare one, or one that is launched now."""
        return self.launch(on_exit) if self.spare is None else self.spare.take(on_exit)

    def launch(self, on_exit: OnExit) -> EnclaveRelay:
        """One that is launched now."""
        return EnclaveRelay("query", self.launcher, self.handlers, on_exit=on_exit, workers=DOOR_WORKERS)


class QueryRelay:
    """A placed model. `alive` until its enclave ends or it is stopped."""

    def __init__(self, enclave: EnclaveRelay, proof: bytes, reader: QuestionReader) -> None:
        self._enclave, self._reader = enclave, reader
        self.proof = proof
        self.not_after = Placement.decode(QueryEnclaveProof.decode(proof).placement.payload).not_after

    @classmethod
    def start(cls, service: Service, place: str, job_id: JobId, on_exit: Callable[[], None]) -> Self:
        """Launch, place the model, and open the place's stream.

        Raises the enclave's refusal, `PeerClosedError` or `TimeoutError`.
        """
        model_id = model_of(place)
        enclave = service.enclave(on_exit)
        try:
            request = PlaceModel(job_id=job_id, model_id=model_id)
            proof = enclave.call("place", request.encode(), seconds=PLACE_SECONDS)
            reader = QuestionReader(service.redis, place, service.worker_name, enclave.ask, service.slots)
            relay = cls(enclave, proof, reader)
        except BaseException:
            enclave.stop()
            raise
        reader.start()
        log_event(_log, "model_placed", model_id=model_id, job_id=job_id, pid=enclave.pid)
        return relay

    @property
    def alive(self) -> bool:
        """Whether the enclave still answers its door."""
        return self._enclave.alive

    @property
    def pid(self) -> int:
        """Process id of the launcher."""
        return self._enclave.pid

    def stop(self) -> None:
        """End reader, enclave and sandbox."""
        self._reader.stop()
        self._enclave.stop()
