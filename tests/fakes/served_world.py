"""Everybody who talks to a key broker that runs as a process, behind its service, with its witness (side: library)."""

import itertools
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from common.broker_verification import verify_broker
from common.crypto.key_file import Identity
from common.dcap import NO_PLATFORM_RULES
from common.enclave.development import development_trust_settings, read_development_release
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import require_release
from common.errors import NotFoundError
from common.identifiers import MrEnclave
from common.messages.broker_exchange import BrokerRequest
from common.messages.broker_identity import DescribeBroker, Genesis
from common.messages.evidence import TrustLevel
from common.untrusted.broker_client import BrokerClient
from common.untrusted.database import Database
from common.untrusted.registry import Registry
from tests.fakes.broker_world import BrokerWorld, Party, TestRuntime


class ServedWorld(BrokerWorld):
    """The parties of a `BrokerWorld`, on the platform and under the release of a running stack.

    `handle` raises `UnavailableError` while the service is away; `on_reply` sees each reply. What looks into the
    broker's core is not there.
    """

    on_reply: Callable[[bytes], object] = staticmethod(lambda _: None)

    def __init__(self, state: Path, attestation_url: str) -> None:
        release = read_development_release(state)
        if release is None:
            raise NotFoundError("not_found.path", expected="a release")
        self.platform, self.trust = SimulatedPlatform.open(state / "platform"), development_trust_settings(state)
        self.release = release
        self.owner, self.provider, self.user = Party(), Party(), Party()
        self.time = int(time.time())
        operator = Identity.read(state / "credentials" / "operator.json").signing_key
        self._http, self._numbers = BrokerClient(attestation_url, operator), itertools.count()
        Registry(Database(f"sqlite:///{state / 'registry' / 'registry.sqlite'}")).enrol(self.owner.party, 1)
        self._pinned = self._verified()

    def handle(self, raw: bytes) -> bytes:
        reply = self._http.ask(raw)
        self.on_reply(reply)
        return reply

    @property
    def genesis(self) -> Genesis:
        return self._pinned

    @property
    def wrapping_public(self) -> bytes:
        """Nobody hands over here, so it can be told while the service is away."""
        return self._pinned.wrapping_public

    def runtime(self, role: str, measurement: MrEnclave | None = None) -> TestRuntime:
        reference = require_release(self.release, self.trust).reference(role, TrustLevel.SIMULATION)
        return TestRuntime(self.platform, measurement or MrEnclave(reference.code), self.trust)

    def _verified(self) -> Genesis:
        request = BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()
        release = require_release(self.release, self.trust)
        reply, now = self.handle(request), int(time.time())
        return verify_broker(reply, request, self.trust, release, NO_PLATFORM_RULES, now).genesis
