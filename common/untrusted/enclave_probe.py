"""Do enclaves come up on this machine, and can they confine provider code? (side: host)

Asked of an enclave that is launched for this and serves nothing, until one says yes: `passed`. What stands against it
meanwhile is the `failure`, a public code. Measurement and bytecode are warm afterwards.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.errors import CloisterError, Refusal
from common.event_log import log_event
from common.untrusted.relay import EnclaveRelay

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0

_STATUS_SECONDS: Final = 120.0
"""A launch with its measurement, on a machine that may be busy."""

_log = logging.getLogger("relay")


class EnclaveProbe:
    """Runs on a thread of its own, which ends with the first success or with the process."""

    def __init__(self, role: str, launcher_settings: Path, *, wait: Callable[[float], None] = time.sleep) -> None:
        self._role, self._launcher_settings, self._wait = role, launcher_settings, wait
        self.passed = False
        self.failure: str | None = None

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self.run, name="enclave-probe", daemon=True).start()

    def run(self) -> None:
        """Try until one enclave says yes."""
        pause = FIRST_PAUSE_SECONDS
        while not self.passed:
            try:
                self._try()
                self.passed, self.failure = True, None
                log_event(_log, "enclave_probed", role=self._role)
            except (CloisterError, TimeoutError, OSError) as error:
                self.failure = error.code if isinstance(error, Refusal) else "unavailable.enclave"
                log_event(
                    _log, "enclave_probe_failed", logging.WARNING, role=self._role, code=self.failure, seconds=pause
                )
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _try(self) -> None:
        enclave = EnclaveRelay(self._role, self._launcher_settings, {})
        try:
            enclave.call("status", b"", seconds=_STATUS_SECONDS)
        finally:
            enclave.stop()
