"""One query enclave that is launched before a model needs it (side: host).

A launch starts a process that measures itself and imports what it needs, which takes as long as all that follows on a
busy machine. A spare one has done so; it has shown no quote, holds no key and serves nothing. What is placed in it
then goes as ever: it attests over a challenge of that moment, for that model, and gets its keys only by that. It serves
one model, once; the next spare is launched when it is gone.

Enclaves end with the thread that launched them: use it on the one that lives as long as the worker.
"""

import logging
from collections.abc import Callable

from common.event_log import log_event
from common.untrusted.relay import EnclaveRelay

_log = logging.getLogger("query.worker")

OnExit = Callable[[], None]


class SpareEnclave:
    """`launch` starts an enclave; what it is given is called at that enclave's end."""

    def __init__(self, launch: Callable[[OnExit], EnclaveRelay]) -> None:
        self._launch = launch
        self._spare: tuple[EnclaveRelay, _Ending] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of its launcher; None where there is none."""
        return None if self._spare is None or not self._spare[0].alive else self._spare[0].pid

    def take(self, on_exit: OnExit) -> EnclaveRelay:
        """The spare one, if it lives, else one that is launched now."""
        spare, self._spare = self._spare, None
        if spare is not None:
            enclave, ending = spare
            if enclave.alive:
                ending.then = on_exit
                return enclave
            enclave.stop()
        return self._launch(on_exit)

    def prepare(self) -> None:
        """Launch a spare one, unless there is one; a launch that fails is tried again the next time."""
        if self._spare is not None and self._spare[0].alive:
            return
        self.close()
        ending = _Ending()
        try:
            self._spare = self._launch(ending), ending
        except OSError as error:
            log_event(_log, "enclave_probe_failed", logging.WARNING, role="query", reason=type(error).__name__)

    def close(self) -> None:
        """End it."""
        if self._spare is not None:
            self._spare[0].stop()
            self._spare = None


class _Ending:
    """What is called at the end of an enclave, once somebody wants to know."""

    def __init__(self) -> None:
        self.then: OnExit | None = None

    def __call__(self) -> None:
        if self.then is not None:
            self.then()
