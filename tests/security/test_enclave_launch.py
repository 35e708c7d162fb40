"""Promise: an enclave is what its quote says, sees nothing but its door, and dies with those above it."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.dcap import NO_PLATFORM_RULES, SgxClaims, appraise, intel_roots, require_report_data, verify_quote
from common.door import Door
from common.enclave.development import CODE_ROOT
from common.enclave.launcher import DOOR_PIPE_BYTES, EXIT_REFUSED, launch_enclave
from common.enclave.private_socket import MALFORMED
from common.enclave.roles import RoleSpec
from common.enclave.runtime import current_runtime
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError, PeerClosedError, Refusal, UnavailableError
from common.identifiers import RoleName
from common.messages.evidence import SgxDcapEvidence, TrustLevel
from tests.fakes.installation import PROBE, Installation, Running, launched, require_ends

REPORT_DATA = bytes(range(64))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation.make(tmp_path_factory.mktemp("state"), PROBE)


@pytest.fixture(scope="module")
def settings(installation: Installation) -> Path:
    return installation.settings(PROBE)


@pytest.fixture(scope="module")
def running(settings: Path) -> Iterator[Running]:
    """An enclave that no test ends."""
    with launched("probe", settings) as enclave:
        yield enclave


def _claims(installation: Installation, evidence: bytes) -> SgxClaims:
    claims = verify_quote(SgxDcapEvidence.decode(evidence), installation.trust.allowed_roots, int(time.time()))
    assert isinstance(claims, SgxClaims)
    return claims


def test_its_quote_is_authentic_and_fits_the_release(installation: Installation, settings: Path) -> None:
    with launched("probe", settings) as enclave:
        evidence = enclave.door.call("evidence", REPORT_DATA)
        claims = _claims(installation, evidence)
        assert enclave.door.call("measurement", b"").decode() == claims.mr_enclave
        assert TrustSettings.decode(enclave.door.call("trust_settings", b"")) == installation.trust
    assert claims.trust_level is TrustLevel.SIMULATION
    require_report_data(claims, REPORT_DATA)
    appraise(claims, installation.release.reference("probe", claims.trust_level), NO_PLATFORM_RULES, int(time.time()))
    with pytest.raises(AppraisalError, match=r"appraisal\.root"):
        verify_quote(SgxDcapEvidence.decode(evidence), intel_roots(), int(time.time()))


def test_one_changed_byte_of_code_is_another_enclave(installation: Installation, tmp_path: Path) -> None:
    root = installation.copy_of_code(PROBE, tmp_path)
    source = root / "common/door.py"
    source.write_bytes(source.read_bytes().replace(b"The one door", b"the one door", 1))
    with launched("probe", installation.settings(PROBE, code_root=root)) as enclave:
        claims = _claims(installation, enclave.door.call("evidence", REPORT_DATA))
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        appraise(
            claims, installation.release.reference("probe", claims.trust_level), NO_PLATFORM_RULES, int(time.time())
        )


def test_the_same_bytes_elsewhere_are_the_same_enclave(installation: Installation, tmp_path: Path) -> None:
    root = installation.copy_of_code(PROBE, tmp_path)
    with launched("probe", installation.settings(PROBE, code_root=root)) as enclave:
        claims = _claims(installation, enclave.door.call("evidence", REPORT_DATA))
    appraise(claims, installation.release.reference("probe", claims.trust_level), NO_PLATFORM_RULES, int(time.time()))


def test_a_ticks_frames_pass_its_door_in_one_piece(running: Running) -> None:
    assert running.door.call("measurement", b"")
    for pipe in (running.process.stdin, running.process.stdout):
        assert pipe is not None
        assert fcntl.fcntl(pipe.fileno(), fcntl.F_GETPIPE_SZ) >= DOOR_PIPE_BYTES


def test_it_sees_nothing_of_its_host(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_CANARY", "a secret of the relay")
    with launched("probe", settings) as enclave:
        seen = enclave.surroundings()
        initial_environment = Path(f"/proc/{seen['pid']}/environ").read_bytes()
    assert seen["environ"] == {}
    assert initial_environment == b""
    assert seen["argv"] == [PROBE.entry]
    assert seen["isolated"] == [1, 1, 1]
    descriptors = {number: target for number, target in seen["descriptors"].items() if "/proc/" not in target}
    assert descriptors.keys() <= {"0", "1", "2", "3", "4"}
    assert descriptors["2"] == "/dev/null"
    assert descriptors["0"].startswith("pipe:")
    assert descriptors["1"].startswith("pipe:")
    assert descriptors["3"].startswith("socket:")
    assert not seen["private_socket_inheritable"]


def test_it_leaves_no_core_and_cannot_be_read(running: Running) -> None:
    seen = running.surroundings()
    assert seen["core"] == [0, 0]
    assert seen["dumpable"] == 0


def test_it_imports_measured_modules_only(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smuggled.py").write_text("planted = True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with launched("probe", settings) as enclave:
        path = enclave.surroundings()["path"]
        for unmeasured in (b"smuggled", b"client", b"services", b"bench"):
            assert enclave.door.call("import", unmeasured) == b"no such module"
        assert enclave.door.call("import", b"common").decode().startswith(path[0])
    assert str(CODE_ROOT) not in path
    assert "" not in path


def test_a_touched_snapshot_is_not_run(installation: Installation, settings: Path) -> None:
    with launched("probe", settings) as enclave:
        snapshot = Path(enclave.surroundings()["path"][0])
    victim, planted = snapshot / "common/door.py", snapshot / "common/planted.py"
    good = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(good + b"\n# touched\n")
    victim.parent.chmod(0o755)
    planted.write_text("planted = True\n")
    with launched("probe", settings) as enclave:
        claims = _claims(installation, enclave.door.call("evidence", REPORT_DATA))
    appraise(claims, installation.release.reference("probe", claims.trust_level), NO_PLATFORM_RULES, int(time.time()))
    assert victim.read_bytes() == good
    assert not planted.exists()


def test_touched_bytecode_is_not_run(installation: Installation, settings: Path) -> None:
    with launched("probe", settings) as enclave:
        snapshot = enclave.surroundings()["path"][0]
    (compiled,) = (installation.state / "snapshots" / "bytecode").glob(f"*{snapshot}/common/door.cpython-*.pyc")
    good = compiled.read_bytes()
    compiled.write_bytes(good[:16] + b"no code at all")
    with launched("probe", settings) as enclave:
        assert enclave.door.call("measurement", b"")
    assert compiled.read_bytes() == good


def test_a_sealing_key_belongs_to_one_measurement(installation: Installation, settings: Path, tmp_path: Path) -> None:
    with launched("probe", settings) as enclave:
        sealed = enclave.door.call("seal", b"state")
        with pytest.raises(Refusal):
            enclave.door.call("open_under_other_label", sealed)
    with launched("probe", settings) as again:
        assert again.door.call("open", sealed) == b"state"
    root = installation.copy_of_code(PROBE, tmp_path)
    source = root / "tests/fakes/probe_enclave.py"
    source.write_bytes(source.read_bytes() + b"# other\n")
    with launched("probe", installation.settings(PROBE, code_root=root)) as other, pytest.raises(Refusal):
        other.door.call("open", sealed)


@pytest.mark.parametrize(
    "packet", [b"\1x", b"\2short", b"\2" + bytes(65), b"\3", b"\3" + bytes(257), b"\0", b"\xff" * 9]
)
def test_a_malformed_request_gets_nothing(running: Running, packet: bytes) -> None:
    assert running.door.call("ask_platform", packet) == MALFORMED
    assert len(running.door.call("ask_platform", b"\1")) == 33


def test_outside_an_enclave_there_is_no_platform() -> None:
    with pytest.raises(UnavailableError, match=r"unavailable\.launcher"):
        current_runtime()


def test_its_door_carries_large_frames(running: Running) -> None:
    body = os.urandom(3 << 20)
    assert running.door.call("echo", body) == body


def test_it_ends_when_its_door_closes(settings: Path) -> None:
    with launched("probe", settings) as enclave:
        pid = enclave.surroundings()["pid"]
        assert enclave.process.stdin is not None
        enclave.process.stdin.close()
        require_ends(pid)
        assert enclave.process.wait() == 0


def test_its_exit_status_is_the_launchers(settings: Path) -> None:
    with launched("probe", settings) as enclave:
        with pytest.raises(PeerClosedError):
            enclave.door.call("exit", b"7")
        assert enclave.process.wait() == 7
    with launched("probe", settings) as enclave:
        os.kill(enclave.surroundings()["pid"], signal.SIGKILL)
        assert enclave.process.wait() == 128 + signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_launcher(settings: Path, how: signal.Signals) -> None:
    with launched("probe", settings) as enclave:
        pid = enclave.surroundings()["pid"]
        enclave.process.send_signal(how)
        require_ends(pid)


def test_the_launcher_dies_with_its_relay(settings: Path) -> None:
    relay = subprocess.Popen(
        [sys.executable, "-c", _RELAY, str(settings)], stdout=subprocess.PIPE, text=True, cwd=CODE_ROOT
    )
    assert relay.stdout is not None
    launcher, enclave = (int(relay.stdout.readline()) for _ in range(2))
    relay.kill()
    relay.wait()
    relay.stdout.close()
    require_ends(launcher)
    require_ends(enclave)


_RELAY = """
import json, sys, threading, time
from pathlib import Path
from common.door import Door
from common.enclave.launcher import launch_enclave
launcher = launch_enclave("probe", Path(sys.argv[1]))
door = Door(launcher.stdout, launcher.stdin, {})
threading.Thread(target=door.serve, daemon=True).start()
enclave = json.loads(door.call("surroundings", b""))["pid"]
print(launcher.pid, enclave, sep="\\n", flush=True)
threading.Event().wait()
"""


def test_a_thread_that_launched_it_may_end(settings: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(launch_enclave("probe", settings)))
    thread.start()
    thread.join()
    with started[0] as process:
        assert process.stdin is not None
        assert process.stdout is not None
        door = Door(process.stdout, process.stdin, {})  # type: ignore[arg-type]
        reader = threading.Thread(target=door.serve)
        reader.start()
        assert door.call("measurement", b"")
        process.stdin.close()
        reader.join()
        assert process.wait() == 0


def test_an_unknown_role_or_code_that_does_not_import_is_refused(
    installation: Installation, settings: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with launched("nobody", settings) as enclave:
        assert enclave.process.wait() == EXIT_REFUSED
    assert "not_found.role" in capfd.readouterr().err
    root = installation.copy_of_code(PROBE, tmp_path)
    (root / "broken.py").write_text("import nothing_of_that_name\n")
    broken = RoleSpec(role=RoleName("broken"), entry="broken")
    with launched("broken", installation.settings(broken, code_root=root)) as enclave:
        assert enclave.process.wait() == EXIT_REFUSED
    assert "nothing_of_that_name" in capfd.readouterr().err
