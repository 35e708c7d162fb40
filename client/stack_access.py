"""A stack as a party meets it: starting the embedded one, addresses and public documents of any (side: owner).

The stack is the operator's. Nothing that it says is trusted here: addresses lead to services whose quotes, signatures
and ciphertext are checked.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from client.context import Endpoints
from client.events import Event, Noted, StackSeen
from client.http_client import ServiceClient
from common.enclave.development import read_development_release
from common.enclave.trust_settings import TrustSettings
from common.errors import NotFoundError
from common.identifiers import Digest
from common.messages.measured_files import MeasuredFiles
from deploy.embedded.stack import EmbeddedStack
from deploy.embedded.state import write_private
from deploy.embedded.status import StackStatus

ENDPOINTS_FILE: Final = "endpoints.json"
TRUST_SETTINGS_FILE: Final = Path("release", "trust_settings.json")
MEASURED_FILES_FILE: Final = Path("release", "release.files.json")
_CARRIERS: Final = ("attestation", "ingest", "paramserver", "query")
"""The processes that count what goes through them and through store and brokers."""


def start_stack(
    stack: EmbeddedStack, *, tied: bool, hand_over: bool = False, leave_behind: bool = False
) -> Iterator[Event]:
    """Start the stack and wait until all its services are ready; then publish its addresses. Ends with `StackSeen`.

    With `tied` it stops when this process ends; `hand_over` and `leave_behind` as `EmbeddedStack.start` has them.
    Raises `ConflictError` where one is up, `UnavailableError`.
    """
    state, before = stack.state.root, read_development_release(stack.state.root)
    stack.start(tied=tied, hand_over=hand_over, leave_behind=leave_behind)
    for status in stack.watch_ready():
        if status.state == "ready":
            write_private(state / ENDPOINTS_FILE, endpoints_of(status).encode())
        yield stack_seen(state, status)
    release = read_development_release(state)
    if release is not None and before is not None and release.digest != before.digest:
        yield Noted(
            text=f"the enclaves' code has changed: release {release.digest} was measured and signed anew; pin it"
        )
    if hand_over and release is not None and _older_broker_serves(read_endpoints(state)):
        yield Noted(
            text=f"the older build's broker serves until all terms name release {release.digest}; then it hands over",
            warning=True,
        )


def _older_broker_serves(endpoints: Endpoints) -> bool:
    try:
        ServiceClient(endpoints.attestation).get("/v1/release/next")
    except NotFoundError:
        return False
    return True


def stack_seen(state: Path, status: StackStatus) -> StackSeen:
    """A status as an event."""
    return StackSeen(
        state=status.state,
        directory=str(state),
        ready=tuple(service.name for service in status.services if service.ready),
        waiting=status.waiting,
    )


def endpoints_of(status: StackStatus) -> Endpoints:
    """Addresses of a running stack."""
    address = {name: f"http://127.0.0.1:{port}" for name, port in status.ports.items()}
    return Endpoints(attestation=address["attestation"], ingest=address["ingest"], query=address["query"])


def read_endpoints(state: Path) -> Endpoints:
    """The addresses that `start_stack` published."""
    return Endpoints.decode((state / ENDPOINTS_FILE).read_bytes())


def read_carried(state: Path) -> dict[str, int]:
    """Bytes that each host service of a running stack saw since its start, as its processes have counted them."""
    ports, carried = EmbeddedStack(state).status().ports, Counter[str]()
    for name in _CARRIERS:
        carried.update(json.loads(ServiceClient(f"http://127.0.0.1:{ports[name]}").get("/carried")))
    return dict(carried)


def stated_environment(state: Path) -> Digest:
    """The digest of the third-party files among which a stack's enclaves run, as its release's list of files says."""
    return MeasuredFiles.decode((state / MEASURED_FILES_FILE).read_bytes()).environment


def read_trust_settings(state: Path) -> TrustSettings:
    """The trust settings with which a stack's enclaves are measured."""
    return TrustSettings.decode((state / TRUST_SETTINGS_FILE).read_bytes())
