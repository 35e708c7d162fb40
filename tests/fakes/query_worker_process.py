"""A query worker as a process of its own, with an enclave process behind a real door (side: library).

`python -m tests.fakes.query_worker_process REDIS_URL MODEL_ID SLOTS`. What the enclave answers is the question
reversed, after a while, all that came meanwhile together. It keeps nothing: what it took and did not answer is lost
with it. A worker whose enclave ends starts another, as `Placements` does.
"""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, cast

from common.door import Door
from common.identifiers import ModelId

BATCH_SECONDS = 0.15


class Enclave:
    """Answers in batches."""

    def __init__(self) -> None:
        self._waiting: list[tuple[bytes, Future[bytes]]] = []
        self._lock = threading.Lock()

    def begin(self, body: bytes) -> Future[bytes]:
        """Answer it with the next batch."""
        answer = Future[bytes]()
        with self._lock:
            self._waiting.append((body, answer))
        return answer

    def run(self) -> None:
        """Until the process ends."""
        while True:
            time.sleep(BATCH_SECONDS)
            with self._lock:
                batch, self._waiting = self._waiting, []
            for body, answer in batch:
                answer.set_result(body[::-1])


def enclave_main() -> None:
    """The enclave's end of the door."""
    enclave = Enclave()
    threading.Thread(target=enclave.run, daemon=True).start()
    Door(os.fdopen(0, "rb"), os.fdopen(1, "wb"), {}, begun={"query": enclave.begin}).serve()
    os._exit(0)


def worker_main(url: str, model_id: ModelId, directory: Path) -> None:
    """The worker's end; says the enclave's process id whenever there is a new one."""
    from services.query_enclave.question_reader import QuestionReader, connect  # the enclave has no Redis client
    from services.query_enclave.slots import Slots

    while True:
        command = [sys.executable, "-m", __spec__.name, "enclave"]
        enclave = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        door = Door(cast("BinaryIO", enclave.stdout), cast("BinaryIO", enclave.stdin), {})
        serving = threading.Thread(target=door.serve)
        serving.start()
        reader = QuestionReader(connect(url), model_id, "worker", door.ask, Slots(directory), under_way=8)
        reader.start()
        print(enclave.pid, flush=True)  # noqa: T201 - the test reads it
        serving.join()
        enclave.wait()
        reader.stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["enclave"]:
        enclave_main()
    else:
        worker_main(sys.argv[1], ModelId(sys.argv[2]), Path(sys.argv[3]))
