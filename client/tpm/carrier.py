"""Carries between a key broker and the TPM that witnesses for it (side: host).

For each new head of the broker's log it steps the counter twice: the first step is for the head, the second shows that
no other log came between (services/attestation/tpm_counters). Under load the second step is the next head's first.

The crash window: a step's proof is lost if the power fails after the TPM has counted and before the proof is stored. So
each proof is stored, durably, before it is sent and before the next step; after a crash at most one is missing, which
the broker forgives. What was stored is sent again to each boot of the broker, for its sealed state may know less.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

from pydantic import Field

from client.durable_file import replace_durably
from client.tpm.commands import Tpm
from common.broker_channel import BrokerChannel
from common.event_log import log_event
from common.identifiers import Digest
from common.messages.base import Message
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from common.messages.log_heads import AwaitHead, Confirmed, HeadSigned, LogHead
from common.messages.tpm_counter import MAX_STEPS, ConfirmByCounter, CounterStep, MeetTpm, TpmChallenge
from common.tpm.steps import step_purpose

_log = logging.getLogger("witness.tpm")
_BROKER_PATH: Final = "/v1/broker"

STEPS_KEPT: Final = 512
"""A broker's sealed state lacks the steps since its last decision: two for each start, where nothing else was
decided."""


class StepMemory(Message):
    """The newest proofs of a counter, for one broker."""

    type: Literal["step-memory"] = "step-memory"
    version: Literal[1] = 1
    broker: Digest
    steps: Annotated[tuple[CounterStep, ...], Field(max_length=STEPS_KEPT)]


class Service(Protocol):
    """The attestation service over HTTP."""

    def post(self, path: str, body: bytes) -> bytes:
        """The body of a successful answer."""


class CounterCarrier:
    """One counter, one broker; `memory_file` is replaced atomically.

    `open_tpm` opens it anew after whatever went wrong.
    """

    def __init__(self, service: Service, open_tpm: Callable[[], Tpm], memory_file: Path) -> None:
        self._service, self._open_tpm, self._file = service, open_tpm, memory_file
        self._tpm: Tpm | None = None
        self._channel: BrokerChannel | None = None
        self._memory: StepMemory
        self._activation = b""
        self._last: CounterStep | None = None
        self._confirmed_size = 0
        self.broker_is_thawed = False

    def round(self) -> None:
        """Meet the broker, in whatever boot it is, and confirm its newest head. Raises what is refused or away."""
        self.close()
        with self._closed_if_refused():
            channel = BrokerChannel(lambda raw: self._service.post(_BROKER_PATH, raw))
            description = channel.ask(DescribeBroker(), BrokerDescription)
            self._remember(description.genesis.digest)
            self._meet(channel)
            self._confirm(channel)
            self._channel = channel

    def follow(self) -> bool:
        """Wait a moment for the next head, and confirm it. False when another boot answers: then it takes a round."""
        channel = self._channel
        if channel is None or channel.head is None:
            return False
        with self._closed_if_refused():
            epoch = channel.head.epoch
            channel.ask(AwaitHead(known=self._confirmed_size), HeadSigned)
            if channel.head.epoch != epoch:
                return False
            self._confirm(channel)
        return True

    def close(self) -> None:
        """Let go of the TPM and of the broker's boot."""
        self.broker_is_thawed, self._channel, self._last, self._confirmed_size = False, None, None, 0
        tpm, self._tpm = self._tpm, None
        if tpm is not None:
            tpm.close()

    @contextmanager
    def _closed_if_refused(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _remember(self, broker: Digest) -> None:
        """Read what is stored, if it is this broker's."""
        stored = StepMemory.decode(self._file.read_bytes()) if self._file.exists() else None
        self._memory = stored if stored and stored.broker == broker else StepMemory(broker=broker, steps=())

    def _meet(self, channel: BrokerChannel) -> None:
        """Let the TPM show its attestation key, and tell this boot of the broker what is stored."""
        tpm = self._tpm = self._open_tpm()
        areas = MeetTpm(endorsement_key=tpm.endorsement_key.area, attestation_key=tpm.attestation_key.area)
        challenge = channel.ask(areas, TpmChallenge)
        self._activation = tpm.activate(challenge.credential, challenge.secret)
        steps = self._memory.steps
        for first in range(0, len(steps), MAX_STEPS):
            self._say(channel, tpm, *steps[first : first + MAX_STEPS])

    def _confirm(self, channel: BrokerChannel) -> None:
        """Step until the log is confirmed as it is now."""
        wanted = _head_of(channel).size
        while self._confirmed_size < wanted:
            before, step = self._last, self._step(channel)
            if before is not None and before.value + 1 == step.value:
                self._confirmed_size = before.size
                log_event(_log, "head_confirmed", log_size=before.size, epoch=_head_of(channel).epoch)

    def _step(self, channel: BrokerChannel) -> CounterStep:
        """One step for the newest head: stored, then told."""
        tpm, head = self._tpm, _head_of(channel)
        if tpm is None:
            raise RuntimeError("no round was made")
        value, proof = tpm.step(step_purpose(self._memory.broker, head.size, head.root))
        step = CounterStep(
            value=value, size=head.size, root=head.root, attested=proof.attested, signature=proof.signature
        )
        self._memory = StepMemory(broker=self._memory.broker, steps=(*self._memory.steps, step)[-STEPS_KEPT:])
        replace_durably(self._file, self._memory.encode())
        self._say(channel, tpm, step)
        self._last = step
        return step

    def _say(self, channel: BrokerChannel, tpm: Tpm, *steps: CounterStep) -> None:
        body = ConfirmByCounter(
            endorsement_key=tpm.endorsement_key.digest,
            attestation_key=tpm.attestation_key.area,
            activation=self._activation,
            steps=steps,
        )
        self.broker_is_thawed = not channel.ask(body, Confirmed).frozen


def _head_of(channel: BrokerChannel) -> LogHead:
    if channel.head is None:
        raise RuntimeError("nothing was asked yet")
    return channel.head
