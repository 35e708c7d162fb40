"""The attestation service as a process of its own, with its enclave (side: library)."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx

from client.broker import describe_broker
from client.broker_quote import BROKER_PATH
from client.context import Endpoints, Party, PinnedTrust
from client.http_client import ServiceClient
from common.broker_verification import VerifiedBroker
from common.crypto.signing import SigningKey
from common.dcap import NO_PLATFORM_RULES
from common.enclave.roles import ROLES
from common.messages.evidence import TrustLevel
from common.messages.signed import Signed
from common.untrusted.database import Database
from common.untrusted.registry import Registry
from services.attestation.settings import AttestationSettings
from tests.fakes.installation import Installation
from tests.integration.ingest_service import SECONDS, eventually, registry_url

ROOT: Final = Path(__file__).parents[2]


class Service:
    """`python -m services.attestation.app`, its enclave with it, on a port that stays the same over its lives."""

    def __init__(self, directory: Path, installation: Installation | None = None, **settings: Any) -> None:
        self.installation = installation or Installation.make(directory / "installation", ROLES["broker"])
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url, self.state = f"http://127.0.0.1:{self.port}", directory / "state"
        directory.mkdir(parents=True, exist_ok=True)
        self.registry, self.operator = Registry(Database(registry_url(directory))), SigningKey.generate()
        self._file, self._log = directory / "settings.json", directory / "log"
        written = AttestationSettings(
            state_directory=self.state, listen_port=self.port, launcher=self.installation.settings(),
            release_file=self.installation.state / "release" / "release.json", database_url=registry_url(directory),
            services=(self.operator.party,), **settings,
        )  # fmt: skip
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(written.model_dump_json())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "services.attestation.app", "--settings", str(self._file)]
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        eventually(self.is_ready, "attestation ready", 2 * SECONDS)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        return False

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(SECONDS)

    def party(self, directory: Path, name: str) -> Party:
        """An identity that has pinned this service's broker."""
        party = Party.create(directory / name, name, unsafe_simulation=True)
        self.pin(party)
        return party

    def describe(self) -> VerifiedBroker:
        """Its broker, verified now."""
        trust, release = self.installation.trust, self.installation.release
        rules, floor = (lambda _: NO_PLATFORM_RULES), TrustLevel.SIMULATION
        return describe_broker(self.endpoints, trust, release, rules, floor)

    def handle(self, raw: bytes) -> bytes:
        """One request to its broker, as the operator's services carry it."""
        return ServiceClient(self.url, self.operator).post(BROKER_PATH, raw)

    @property
    def endpoints(self) -> Endpoints:
        """Its address; there is no other service."""
        return Endpoints(attestation=self.url, ingest=self.url, query=self.url)

    def pin(self, party: Party) -> None:
        """What `cloister owner pin` does, without an ingest service."""
        self.registry.enrol(party.identity.signing_key.party, 0)
        release = Signed.decode((self.installation.state / "release" / "release.json").read_bytes())
        party.pin(
            PinnedTrust(
                endpoints=self.endpoints, trust_settings=self.installation.trust, release=release,
                broker=self.describe().genesis,
            )
        )  # fmt: skip
