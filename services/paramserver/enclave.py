"""The parameter server enclave: jobs come in at the door, each runs on a thread of its own (side: enclave).

Holds: what its jobs hold, each apart from the others.  Reads and sends: see common/messages/training_door.
"""

import contextlib
import json
import os
import threading
import time
from typing import BinaryIO, Final

from common.door import Door
from common.enclave.runtime import current_runtime
from common.errors import ConflictError, PeerClosedError, Refusal, UnavailableError
from common.exchange.clock import spare_imports
from common.identifiers import JobId
from common.key_retrieval import EvidenceSource
from common.messages.enclave_events import EnclaveReady, JobRunEnded
from common.messages.training_door import JobEnded, OpenJob, parse_job_frame
from services.paramserver.ending import Patience
from services.paramserver.running import JobRun

MAX_JOBS: Final = 64
"""Jobs at once: each has threads and two copies of its state."""


class ParameterServerEnclave:
    """The handlers of the door."""

    def __init__(self, runtime: EvidenceSource, reader: BinaryIO, writer: BinaryIO) -> None:
        self._runtime = runtime
        self._jobs: dict[JobId, JobRun] = {}
        self._lock = threading.Lock()
        self.door = Door(
            reader,
            writer,
            {"open_job": self.open_job, "close_job": self.close_job, "frame": self.frame, "status": self.status},
        )

    def open_job(self, body: bytes) -> bytes:
        """Begin a job; its admission, and all else, happens on its own thread."""
        opened = OpenJob.decode(body)
        with self._lock:
            if opened.job_id in self._jobs:
                raise ConflictError("conflict.job_state", expected="a job that is not open here")
            if len(self._jobs) >= MAX_JOBS:
                raise UnavailableError("unavailable.full")
            run = JobRun(self.door, self._runtime, opened)
            threading.Thread(target=self._run, args=(opened.job_id, run), name="job", daemon=True).start()
            self._jobs[opened.job_id] = run  # only now: a job without a thread would stay open for good
        return b""

    def close_job(self, body: bytes) -> bytes:
        """End a job that the host gives up; one that is not open is no error."""
        run = self._jobs.get(JobId(body.decode("ascii", errors="replace")))
        if run is not None:
            run.close()
        return b""

    def frame(self, body: bytes) -> bytes:
        """A frame for one of the jobs; of a job that is not open it is dropped."""
        job_id, frame = parse_job_frame(body)
        run = self._jobs.get(job_id)
        if run is not None:
            run.frame(frame)
        return b""

    def status(self, _body: bytes) -> bytes:
        """How many jobs are open."""
        return json.dumps({"ready": True, "jobs": len(self._jobs)}).encode()

    def _run(self, job_id: JobId, run: JobRun) -> None:
        with contextlib.suppress(PeerClosedError):
            ended = self._end_of(job_id, run)
            self.door.log(JobRunEnded(job_id=job_id, state=ended.outcome, code=ended.code))
            with contextlib.suppress(Refusal, TimeoutError):
                patience = Patience(time.monotonic, self.door.closed.wait)
                patience.persist(lambda: self.door.call("job_ended", ended.encode()))

    def _end_of(self, job_id: JobId, run: JobRun) -> JobEnded:
        """How the job ended; from then on it is open here no more.

        A fault of ours that nobody foresaw ends it, too. Nothing is said of it but that: its text, kind and place may
        depend on data.
        """
        try:
            return run.run()
        except PeerClosedError:
            raise
        except Exception:
            return JobEnded(job_id=job_id, outcome="failed", completed=False, code="unavailable.enclave")
        finally:
            with self._lock:
                del self._jobs[job_id]


def main() -> None:
    """Entry point of the measured process: its door is its stdin and stdout."""
    spare_imports()
    enclave = ParameterServerEnclave(current_runtime(), os.fdopen(0, "rb"), os.fdopen(1, "wb"))
    enclave.door.log(EnclaveReady(role="paramserver"))
    enclave.door.serve()
    os._exit(0)  # threads of jobs must not outlive the door


if __name__ == "__main__":
    main()
