"""The trainer enclave: one slot of one job, from the relay's `start` to its last word (side: enclave).

Holds: what the slot's run holds.  Reads and sends: see common/messages/training_door.
"""

import contextlib
import functools
import json
import os
import threading

from common.crypto.labels import COMPILED_DESIGN
from common.door import Door
from common.enclave.runtime import EnclaveRuntime, current_runtime
from common.errors import ConflictError, PeerClosedError, Refusal
from common.exchange.clock import spare_imports
from common.messages.enclave_events import EnclaveReady, SlotEnded
from common.messages.training_door import StartTrainer, TrainerEnded
from common.sandbox.probe import require_confinement
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandboxed.landlock import landlock_abi
from services.trainer_enclave.artefacts import DoorArtefacts
from services.trainer_enclave.provider_work import Starts, start_wasm
from services.trainer_enclave.running import LAST_SECONDS, TrainerRun


class TrainerEnclave:
    """The handlers of the door."""

    def __init__(self, runtime: EnclaveRuntime) -> None:
        self._runtime = runtime
        self._run: TrainerRun | None = None
        self._lock = threading.Lock()
        self.door = Door(
            os.fdopen(0, "rb"), os.fdopen(1, "wb"), {"start": self.start, "frame": self.frame, "status": self.status}
        )

    def start(self, body: bytes) -> bytes:
        """Take the slot, once in the life of an enclave; all else happens on a thread that lives as long as it."""
        start = StartTrainer.decode(body)
        with self._lock:
            if self._run is not None:
                raise ConflictError("conflict.job_state", expected="one start")
            key, store = self._runtime.sealing_key(COMPILED_DESIGN), DoorArtefacts(self.door)
            compiled = functools.partial(CompiledDesign, key, store)
            starts = Starts(designer=functools.partial(start_wasm, compiled=compiled))
            self._run = TrainerRun(self.door, self._runtime, start, starts=starts)
        threading.Thread(target=self._live, args=(start, self._run), name="slot", daemon=True).start()
        return b""

    def frame(self, body: bytes) -> bytes:
        """A frame of the parameter server."""
        if self._run is not None:
            self._run.frame(body)
        return b""

    def status(self, _body: bytes) -> bytes:
        """Whether the slot was taken. Raises `ConfinementError` where this machine can't confine provider code."""
        require_confinement()
        return json.dumps({"ready": True, "started": self._run is not None}).encode()

    def _live(self, start: StartTrainer, run: TrainerRun) -> None:
        try:
            code = run.run()
            self.door.log(SlotEnded(job_id=start.job_id, slot=start.slot, code=code))
            with contextlib.suppress(Refusal, TimeoutError):
                ended = TrainerEnded(job_id=start.job_id, slot=start.slot, code=code)
                self.door.call("ended", ended.encode(), seconds=LAST_SECONDS)
        except PeerClosedError:
            pass
        finally:
            os._exit(0)  # the sandbox dies with this process


def main() -> None:
    """Entry point of the measured process: its door is its stdin and stdout."""
    spare_imports()
    enclave = TrainerEnclave(current_runtime())
    enclave.door.log(EnclaveReady(role="trainer", landlock_abi=landlock_abi()))
    enclave.door.serve()
    os._exit(0)  # the slot's threads and its sandbox must not outlive the door


if __name__ == "__main__":
    main()
