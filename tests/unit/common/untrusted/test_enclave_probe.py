"""An enclave that serves nothing says whether this machine can confine; it is asked until it says yes."""

from pathlib import Path

import pytest

from common.errors import ConfinementError, PeerClosedError
from common.untrusted import enclave_probe
from common.untrusted.enclave_probe import EnclaveProbe


def test_a_machine_is_asked_until_it_confines(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter([ConfinementError("confinement.bubblewrap"), PeerClosedError("it died"), None])
    said: list[str | None] = []
    pauses: list[float] = []
    ended: list[bool] = []

    class Enclave:
        def __init__(self, *_: object) -> None: ...

        def call(self, name: str, _body: bytes, *, seconds: float) -> bytes:
            assert (name, seconds > 0) == ("status", True)
            if (failure := next(outcomes)) is not None:
                raise failure
            return b""

        def stop(self) -> None:
            ended.append(True)

    def wait(seconds: float) -> None:
        said.append(probe.failure)
        pauses.append(seconds)

    monkeypatch.setattr(enclave_probe, "EnclaveRelay", Enclave)
    probe = EnclaveProbe("query", Path("/nowhere"), wait=wait)
    probe.run()
    assert said == ["confinement.bubblewrap", "unavailable.enclave"]
    assert pauses == [1.0, 2.0]
    assert (probe.passed, probe.failure, ended) == (True, None, [True] * 3)
