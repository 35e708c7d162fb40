"""Every service says on its port that it lives, and by name what it waits for; README.md lists the names."""

import contextlib
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterator

import httpx
import pytest

from bench.kill_victims import VICTIMS
from client.http_client import ServiceClient
from client.measuring import CODE_ROOT
from common.errors import UnavailableError
from tests.e2e.conftest import Finished, RunningStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

INFRASTRUCTURE = {"epmd", "rabbitmq", "redis"}
"""Not ours: they have no HTTP."""

SHOWN_ELSEWHERE = {"registry", "slots", "sealed_state", "confinement"}
"""A disk that is gone, a state of another build (tests/security/test_broker_process.py), a host that can't confine."""

PATIENCE_SECONDS = 60.0


def documented() -> dict[str, list[str]]:
    """Names by service, in the order of README.md."""
    section = (CODE_ROOT / "README.md").read_text().split("\n## Health\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.findall(r"`([a-z_ -]+)`", line) for line in section.splitlines() if line.startswith("| `")]
    return {service: names for service, *names in rows}


class Listener:
    """Asks services, and remembers all that each was ever heard to wait for."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack, self._http = stack, httpx.Client(trust_env=False, timeout=20.0)
        self.heard = defaultdict[str, set[str]](set)

    def waiting_for(self, service: str) -> list[str]:
        """What `/readyz` names now."""
        answer = self._http.get(f"{self._stack.stack.url(service)}/readyz")
        told = answer.json()
        assert told.keys() - {"notes"} == {"ready", "waiting_for"}
        assert told["ready"] is (answer.status_code == 200) is (not told["waiting_for"])
        self.heard[service].update(told["waiting_for"])
        names: list[str] = told["waiting_for"]
        return names

    def is_alive(self, service: str) -> bool:
        """What `/healthz` says."""
        answer = self._http.get(f"{self._stack.stack.url(service)}/healthz")
        return (answer.status_code, answer.json()) == (200, {"alive": True})

    def await_names(self, names: Collection[str], services: Collection[str]) -> None:
        """Until each of these services was heard to wait for those of the names that it may wait for."""
        wanted = {service: set(documented()[service]) & set(names) for service in services}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while missing := {one: names - self.heard[one] for one, names in wanted.items() if names - self.heard[one]}:
            assert time.monotonic() < deadline, missing
            for service in missing:
                self.waiting_for(service)
                assert self.is_alive(service)

    def await_ready(self) -> None:
        """Until nobody waits for anything, as the services say themselves."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while waiting := [service for service in documented() if not self._is_ready(service)]:
            assert time.monotonic() < deadline, waiting
            time.sleep(0.2)

    def _is_ready(self, service: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return not self.waiting_for(service)
        return False


@pytest.fixture
def listener(stack: RunningStack) -> Listener:
    return Listener(stack)


@contextlib.contextmanager
def nothing_comes_back(stack: RunningStack) -> Iterator[None]:
    """The supervisor stands still."""
    supervisor = stack.stack.status().supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def test_every_service_is_documented_lives_and_is_ready(stack: RunningStack, listener: Listener) -> None:
    assert documented().keys() == {one.name for one in stack.stack.status().services} - INFRASTRUCTURE
    listener.await_ready()
    for service in documented():
        assert listener.is_alive(service)
        assert listener.waiting_for(service) == []


def test_each_names_what_it_waits_for(stack: RunningStack, finished: Finished, listener: Listener) -> None:
    others = documented().keys() - {"attestation"}

    def kill(*names: str) -> None:
        for pid in [pid for name in names for pid in VICTIMS[name].find(stack.stack.status())]:
            os.kill(pid, signal.SIGKILL)

    query = ServiceClient(stack.stack.url("query"), finished.owner.identity.signing_key)
    with contextlib.suppress(UnavailableError):  # a model that nobody asks for is not waited for
        query.get(f"/v1/models/{finished.model.model_id}/proof")
    listener.await_ready()
    listener.heard.clear()
    with nothing_comes_back(stack):
        kill("broker enclave")
        listener.await_names({"enclave"}, ["attestation"])
        kill("paramserver enclave")
        listener.await_names({"enclave"}, ["paramserver"])
        kill("attestation host")
        listener.await_names({"attestation", "broker"}, others)
        kill("query enclave")
        listener.await_names({"enclave"}, ["query-worker"])
        kill("rabbitmq", "redis")
        listener.await_names({"rabbitmq", "redis", "query worker"}, others)
    listener.await_ready()
    for service, names in documented().items():
        assert set(names) - SHOWN_ELSEWHERE <= listener.heard[service] <= set(names)
