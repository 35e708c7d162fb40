"""The host's end of the broker's door, for as long as the service runs (side: host).

It starts the enclave, hands it the newest sealed state, stores what it asks to store, and starts it again after a pause
when it ends. It carries requests and replies, all signed or wrapped, and can forge or open none. Beside a request whose
quote carries no collateral it lays some: the request itself, which the reply names by digest, stays as it is.

Where the sealed state is another build's it runs that build, if it is told how, until that one has handed over to its
own (`handover_relay`): as long as the parties' terms do not allow that, the old broker serves.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import InvalidStateError
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool

from common.dcap.collateral_name import name_of_quote
from common.door import Handler
from common.errors import CloisterError, PeerClosedError, Refusal, UnavailableError, refusal_of
from common.event_log import log_event
from common.identifiers import DatasetId
from common.messages.admission import Admit, RenewLease
from common.messages.broker_door import OfferedCollateral, StartBroker
from common.messages.broker_exchange import BrokerRequest
from common.messages.collateral import CollateralName
from common.messages.evidence import DcapQuote
from common.messages.handover import TakeHandover
from common.messages.signed import Signed
from common.messages.tokens import AppraiseEvidence
from common.untrusted.collateral_service import CollateralService
from common.untrusted.relay import EnclaveRelay
from services.attestation.handover_relay import HandoverPlan, Predecessor
from services.attestation.log_store import LogStore
from services.attestation.state_door import parse_append, parse_begin, parse_number, parse_package
from services.attestation.state_files import StateFiles

_log = logging.getLogger("attestation.relay")

START_SECONDS: Final = 180.0
"""An enclave's start on a busy machine, with its measurement."""

HANDLE_SECONDS: Final = 30.0

MAX_CARRIED: Final = 272
"""Requests that are with the enclave at once: more than those that it answers late (key_broker), so that others get
through."""

REST_SECONDS: Final = 5.0
_LACKING: Final = b'"dcap-quote"'
"""In each request with such a quote, as `Message.encode` writes it."""

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
NAME_PAUSE_SECONDS: Final = 60.0
HANDOVER_PAUSE_SECONDS: Final = 2.0
"""Between two questions whether the parties' terms allow a handover by now."""


class BrokerRelay:
    """A supervised broker enclave. `run` until `stop`, on a thread of its own."""

    def __init__(
        self,
        launcher: Path,
        start: StartBroker,
        files: StateFiles,
        collateral: CollateralService | None = None,
        handover: HandoverPlan | None = None,
        *,
        release_file: Path | None = None,
    ) -> None:
        self._release_file = release_file
        self._launcher, self._start, self.files, self.collateral = launcher, start, files, collateral
        self._handover = handover
        self.log = LogStore(files)
        """The decision log, as far as it is stored."""
        self._launched: list[EnclaveRelay] = []
        self._enclave: EnclaveRelay | None = None
        self.refused: str | None = None
        """Code with which the enclave refused to start last: its sealed state is not its own, for one."""
        self.older_release: Path | None = None
        """The release of the broker that serves, while that is an older build's."""
        self.waits: str | None = None
        """Code with which that one refused to hand over last."""
        self._stopped, self._gone = threading.Event(), threading.Event()
        self._room = asyncio.Semaphore(MAX_CARRIED)
        self._thread = threading.Thread(target=self._run, name="broker-relay", daemon=True)

    def start(self) -> None:
        """Launch the enclave, and again whenever it ends."""
        self._thread.start()

    def stop(self) -> None:
        """End the enclave for good, once it has stored what it has only counted so far."""
        self._stopped.set()
        if self._enclave is not None:
            with contextlib.suppress(CloisterError, TimeoutError):
                self._enclave.call("rest", b"", seconds=REST_SECONDS)
        for enclave in self._launched:
            enclave.stop()
        self._gone.set()
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether the broker answers. It may be frozen: its witnesses say when it no longer is."""
        return self._enclave is not None and self._enclave.alive

    def require_not_refused(self) -> bool:
        """Raise the refusal with which the enclave did not start, if that was the last that was heard of it."""
        if self.refused is not None:
            raise refusal_of(self.refused)
        return True

    async def carry(self, raw: bytes) -> bytes:
        """As `ask`, on one event loop: a request keeps a thread while it is written, and none while it waits."""
        async with self._room:
            if self.collateral is not None and _LACKING in raw:
                return await run_in_threadpool(self.ask, raw)
            enclave = self._enclave
            if enclave is None:
                raise UnavailableError("unavailable.broker")
            try:
                reply = await run_in_threadpool(enclave.ask, "handle", raw)
                async with asyncio.timeout(HANDLE_SECONDS):
                    return await asyncio.wrap_future(reply)
            except TimeoutError as cause:
                with contextlib.suppress(InvalidStateError):  # it came after all
                    reply.set_exception(TimeoutError())  # the door waits for it no longer
                raise UnavailableError("unavailable.broker") from cause
            except PeerClosedError as cause:
                raise UnavailableError("unavailable.broker") from cause

    def ask(self, raw: bytes) -> bytes:
        """Carry one request; the signed reply.

        Raises `UnavailableError` (unavailable.broker; unavailable.collateral for a quote that has none).
        """
        enclave = self._enclave
        if enclave is None:
            raise UnavailableError("unavailable.broker")
        name = None if self.collateral is None else collateral_needed(raw)
        if self.collateral is None or name is None:
            handler, body = "handle", raw
        else:
            offered = OfferedCollateral(request=raw, collateral=self.collateral.get(name))
            handler, body = "handle_offered", offered.encode()
        try:
            return enclave.call(handler, body, seconds=HANDLE_SECONDS)
        except (PeerClosedError, TimeoutError) as cause:
            raise UnavailableError("unavailable.broker") from cause

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            self._gone.clear()
            if self._live():
                pause = FIRST_PAUSE_SECONDS
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _live(self) -> bool:
        """One life of the enclave; whether it ever answered."""
        self._launched = []
        enclave = self._launch(self._launcher)
        try:
            self._begin(enclave)
            named = _name_release(enclave, self._release_file)
            self._enclave, self.refused = enclave, None
            log_event(_log, "broker_started", pid=enclave.pid)
            while not self._gone.wait(None if named else NAME_PAUSE_SECONDS):  # its signatures may still come
                named = _name_release(enclave, self._release_file)
        except Refusal as refusal:
            self.refused = refusal.code
            log_event(_log, "broker_not_started", logging.ERROR, code=refusal.code, reason=refusal.mend)
        except (CloisterError, TimeoutError) as error:
            log_event(_log, "broker_not_started", logging.ERROR, reason=type(error).__name__)
        answered, self._enclave = self._enclave is not None, None
        for one in self._launched:
            with contextlib.suppress(OSError):
                one.stop()
        return answered

    def _launch(self, launcher: Path) -> EnclaveRelay:
        enclave = EnclaveRelay("broker", launcher, self._handlers(), on_exit=self._gone.set, inline=["state.append"])
        self._launched.append(enclave)
        return enclave

    def _begin(self, enclave: EnclaveRelay) -> None:
        """Start it on the stored state, or as the heir of the build that has sealed that."""
        try:
            enclave.call("start", self._start.encode(), seconds=START_SECONDS)
        except Refusal as refusal:
            if refusal.code != "authenticity.sealed_state" or self._handover is None:
                raise
            for predecessor in self._handover.predecessors:
                if self._succeed(self._handover, predecessor, enclave):
                    return
            raise

    def _succeed(self, plan: HandoverPlan, predecessor: Predecessor, heir: EnclaveRelay) -> bool:
        """Let that build serve until it has handed over. False when the state is not its own."""
        giver = self._launch(predecessor.launcher)
        try:
            giver.call("start", self._start.encode(), seconds=START_SECONDS)
        except (Refusal, PeerClosedError, TimeoutError):
            giver.stop()
            self._gone.clear()
            return False
        _name_release(giver, predecessor.release_file)
        self._enclave, self.refused, self.older_release = giver, None, predecessor.release_file
        log_event(_log, "older_broker_started", pid=giver.pid)
        try:
            taken = self._until_given(plan, predecessor, giver, heir)
        finally:
            self._enclave, self.older_release, self.waits = None, None, None
            giver.stop()
            self._gone.clear()
        plan.finish(heir, taken)
        log_event(_log, "broker_handed_over", pid=heir.pid)
        return True

    def _until_given(
        self, plan: HandoverPlan, predecessor: Predecessor, giver: EnclaveRelay, heir: EnclaveRelay
    ) -> TakeHandover:
        while giver.alive and heir.alive and not self._stopped.is_set():
            try:
                return plan.carry(giver, heir, predecessor.release_file)
            except Refusal as refusal:
                if refusal.code != self.waits:
                    log_event(_log, "handover_waits", logging.WARNING, code=refusal.code, reason=refusal.mend)
                self.waits = refusal.code
            self._gone.wait(HANDOVER_PAUSE_SECONDS)
        raise UnavailableError("unavailable.broker", expected="both brokers until the handover is done")

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "state.read": lambda body: self.files.read(parse_number(body)),
            "state.append": _silent(lambda body: self.files.append(*parse_append(body))),
            "state.begin": _silent(lambda body: self.files.begin(*parse_begin(body))),
            "state.add": _silent(self.files.add),
            "state.package": _silent(self._keep_package),
            "state.commit": _silent(lambda _: self.files.commit()),
        } | ({} if self._handover is None else self._handover.files.handlers())

    def _keep_package(self, body: bytes) -> None:
        name, package = parse_package(body)
        self.files.recovery.keep(DatasetId(name.decode("ascii")), package)


def _name_release(enclave: EnclaveRelay, file: Path | None) -> bool:
    """Tell it of which release it is; whether no more is to be said. It works without; then models of earlier releases
    are not answered for.
    """
    if file is None:
        return True
    try:
        enclave.call("release", Signed.decode(file.read_bytes()).encode(), seconds=HANDLE_SECONDS)
    except Refusal as refusal:
        log_event(_log, "release_not_named", logging.WARNING, code=refusal.code, reason=refusal.mend)
        return False
    except (CloisterError, TimeoutError, OSError) as error:
        log_event(_log, "release_not_named", logging.WARNING, reason=type(error).__name__)
        return False
    return True


def collateral_needed(raw: bytes) -> CollateralName | None:
    """Which collateral the quote in a request lacks; none for whatever carries its own, or is no such request."""
    if _LACKING not in raw:  # most requests, and parsing takes longer than carrying
        return None
    try:
        body = BrokerRequest.decode(raw).body
        if isinstance(body, Admit | RenewLease | AppraiseEvidence) and isinstance(body.evidence, DcapQuote):
            return name_of_quote(body.evidence.quote)
    except Refusal:
        pass  # the enclave says what is wrong with it
    return None


def _silent(store: Callable[[bytes], None]) -> Handler:
    def handler(body: bytes) -> bytes:
        store(body)
        return b""

    return handler
