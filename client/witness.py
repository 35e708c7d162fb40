"""The witness as a process of its own: `python -m client.witness --settings PATH` (side: owner; with a TPM, host).

A witness remembers (`client/witnessing`), or carries to a TPM that counts (`client/tpm`) or to another installation's
broker that remembers (`client/peer_carrier`).

`/readyz` says so when the broker has taken its word in this boot and releases keys again.
"""

import argparse
import logging
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Final, Protocol, Self

from pydantic import Field, model_validator

from client.http_client import ServiceClient
from client.peer_carrier import PeerCarrier
from client.tpm.carrier import CounterCarrier
from client.tpm.commands import Tpm
from client.witnessing import QUIET_SECONDS, Witness
from common.crypto.key_file import Identity
from common.enclave.trust_settings import TrustSettings
from common.errors import CloisterError, FormatError, Refusal
from common.event_log import configure_host_logging, log_event
from common.messages.tpm_counter import NvIndex
from common.tpm_host.device import open_tpm
from common.untrusted.health import HealthServer, Readiness
from common.untrusted.settings import HostSettings

_log = logging.getLogger("witness")

DEFAULT_INDEX: Final = 0x01500020
"""Of the range that is the owner's to use (TCG Registry of Reserved TPM 2.0 Handles)."""

VERIFY_SECONDS: Final = 60.0
"""How long a verified quote is followed before the next one is asked for; a broker that starts anew is seen at once."""


class Following(Protocol):
    """A witness of either kind."""

    broker_is_thawed: bool

    def round(self) -> None:
        """Meet the broker in whatever boot it is, and confirm its head. Raises what is refused."""

    def follow(self) -> bool:
        """Wait a moment for its next head, and confirm that. False: a round, please. Raises what is refused."""


class WitnessSettings(HostSettings):
    """A JSON file. `identity` is the key file that signs its requests; of a witness that remembers, the witness's key.

    `trust_settings_file` makes it one that remembers, and says whom it believes about releases. With `tpm_device`
    (`/dev/tpmrm0`; `unix:PATH` of an emulator) that TPM's counter at `tpm_index` witnesses, with `peer_url` the key
    broker behind that attestation service.
    """

    state_directory: Path
    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, Field(ge=0, le=65535)]
    attestation_url: str
    identity: Path
    trust_settings_file: Path | None = None
    tpm_device: str | None = None
    tpm_index: NvIndex = DEFAULT_INDEX
    peer_url: str | None = None
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0

    @model_validator(mode="after")
    def _require_one_kind(self) -> Self:
        if [self.trust_settings_file, self.tpm_device, self.peer_url].count(None) != 2:
            raise ValueError("either trust settings, or a TPM, or a peer")
        return self


def watch(witness: Following, poll_seconds: float, stopped: threading.Event) -> None:
    """Verify and follow until stopped. What is refused is logged once, until something else happens."""
    last: str | None = None
    while not stopped.is_set():
        code: str | None = None
        try:
            witness.round()
            verify_again = time.monotonic() + VERIFY_SECONDS
            while not stopped.is_set() and time.monotonic() < verify_again and witness.follow():
                last = None
        except Refusal as refusal:
            code = refusal.code
            if code != last:
                log_event(_log, "witness_refused", logging.WARNING, code=code, reason=refusal.mend)
        except CloisterError as error:
            code = type(error).__name__
        last = code
        stopped.wait(QUIET_SECONDS if code is None else poll_seconds)


def build(settings: WitnessSettings) -> Following:
    """The witness of these settings. Raises `FormatError`."""
    identity = Identity.read(settings.identity)
    service = ServiceClient(settings.attestation_url, identity.signing_key)
    device, index = settings.tpm_device, settings.tpm_index
    if device is not None:
        memory = settings.state_directory / "steps.json"
        return CounterCarrier(service, lambda: Tpm(open_tpm(device), index), memory)
    if settings.peer_url is not None:
        return PeerCarrier(service, ServiceClient(settings.peer_url, identity.signing_key))
    if settings.trust_settings_file is None:
        raise RuntimeError("settings name one kind")
    try:
        trust = TrustSettings.decode(settings.trust_settings_file.read_bytes())
    except OSError:
        raise FormatError("format.message", expected="a trust settings file") from None
    return Witness(identity, trust, service, settings.state_directory / "witness.json")


def main() -> None:
    """Witness until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m client.witness")
    parser.add_argument("--settings", type=Path, required=True)
    settings = WitnessSettings.read(parser.parse_args().settings)
    configure_host_logging("witness")
    witness, stopped = build(settings), threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stopped.set())
    readiness = Readiness({"broker": lambda: witness.broker_is_thawed})
    health = HealthServer(settings.listen_port, readiness, host=settings.listen_host, token=settings.metrics_token)
    try:
        watch(witness, settings.poll_seconds, stopped)
    finally:
        health.stop()


if __name__ == "__main__":
    main()
