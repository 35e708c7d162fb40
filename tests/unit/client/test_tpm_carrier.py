import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from client.cli import main
from client.peer_carrier import PeerCarrier
from client.tpm.carrier import CounterCarrier
from client.tpm.commands import Tpm
from client.witness import WitnessSettings, build, watch
from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.errors import FormatError, FreshnessError, UnavailableError
from common.tpm import layouts
from common.tpm.steps import NV_INCREMENT
from common.tpm_host.commands import Attested
from services.attestation import key_broker
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import QUERY, MemoryStore
from tests.fakes.software_tpm import Counted, SoftwareTpm


@pytest.fixture
def software() -> Iterator[SoftwareTpm]:
    tpm = SoftwareTpm()
    yield tpm
    tpm.close()


@pytest.fixture
def counted(tmp_path: Path, software: SoftwareTpm) -> Iterator[Counted]:
    counted = Counted(tmp_path, software)
    yield counted
    counted.carrier.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_broker, "AWAIT_SECONDS", 0.01)


def test_a_new_broker_is_frozen_until_the_counter_has_gone_on_twice(counted: Counted) -> None:
    assert counted.world.describe().frozen
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        counted.world.register_data()
    counted.carrier.round()
    assert counted.carrier.broker_is_thawed
    assert not counted.world.describe().frozen
    assert counted.sees_all()
    counted.world.register_data()


def test_it_follows_and_is_idle_when_nothing_is_decided(counted: Counted) -> None:
    counted.carrier.round()
    for _ in range(3):
        counted.world.register_data()
        assert counted.carrier.follow()
        assert counted.sees_all()
    before = counted.carrier._tpm.counter()  # type: ignore[union-attr]
    assert counted.carrier.follow()
    assert counted.carrier._tpm.counter() == before  # type: ignore[union-attr]


def test_a_whole_job_under_a_counter(counted: Counted) -> None:
    with counted.attended():
        job_id = counted.world.start_job()
        counted.world.finish(job_id)
        placement = counted.world.launch(QUERY, job_id).placement
    assert placement is not None
    assert b'"witnessed":true' in placement.payload


def test_every_start_freezes_again_and_the_carrier_finds_the_new_boot(counted: Counted) -> None:
    counted.carrier.round()
    counted.world.register_data()
    counted.world.restart()
    assert counted.world.describe().frozen
    assert not counted.carrier.follow()
    counted.carrier.round()
    assert not counted.world.describe().frozen


def test_the_sealed_state_may_be_behind_the_counter_by_all_that_the_carrier_keeps(counted: Counted) -> None:
    """Nothing is decided, so nothing is written of the counter; the carrier's file has what is missing."""
    for _ in range(20):
        counted.world.restart()
        counted.again().round()
    assert counted.world.context.state.tally(f"counter {counted.pinned.endorsement_key}") == 0
    counted.world.register_data()
    position = counted.world.context.state.tally(f"counter {counted.pinned.endorsement_key}")
    assert position == counted.pinned.value + 40
    counted.world.restart()
    counted.again("new.json").round()  # the broker knows by itself


def test_a_carrier_that_lost_its_file_can_stop_the_broker_and_no_more(counted: Counted) -> None:
    counted.carrier.round()
    counted.world.restart()
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.again("lost.json").round()
    assert counted.world.describe().frozen
    counted.again().round()
    assert not counted.world.describe().frozen


def test_one_proof_that_is_lost_with_the_power_is_forgiven(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The TPM has counted; the machine died before the proof was stored."""
    counted.carrier.round()
    counted.world.register_data()
    honest = Tpm.step

    def die(tpm: Tpm, purpose: bytes) -> tuple[int, Attested]:
        honest(tpm, purpose)
        raise UnavailableError("unavailable.tpm")

    monkeypatch.setattr(Tpm, "step", die)
    with pytest.raises(UnavailableError, match="unavailable.tpm"):
        counted.carrier.follow()
    monkeypatch.undo()
    counted.software.cut_power()
    counted.software.start()
    counted.world.restart()
    counted.again().round()
    assert not counted.world.describe().frozen
    assert counted.sees_all()


def test_two_in_a_row_are_not(counted: Counted) -> None:
    counted.carrier.round()
    counted.carrier.close()
    tpm = counted.software.open()
    tpm.step(bytes(32))
    tpm.step(bytes(32))
    tpm.close()
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.again().round()
    assert not counted.carrier.broker_is_thawed


def test_a_tpm_that_is_away_is_unavailable(counted: Counted) -> None:
    counted.carrier.round()
    counted.software.cut_power()
    counted.world.register_data()
    with pytest.raises(UnavailableError, match="unavailable.tpm"):
        counted.carrier.follow()
    assert not counted.carrier.follow()
    with pytest.raises(UnavailableError, match="unavailable.tpm"):
        counted.carrier.round()
    counted.software.start()
    counted.carrier.round()
    assert counted.sees_all()


def test_a_counter_that_is_not_there_is_named(counted: Counted) -> None:
    tpm = counted.software.open(0x01500021)
    assert tpm.counter() is None
    with pytest.raises(UnavailableError, match="unavailable.tpm"):
        tpm.step(bytes(32))
    tpm.close()


def test_a_tpm_and_a_witness_make_a_quorum_together(tmp_path: Path, software: SoftwareTpm) -> None:
    counted = Counted(tmp_path, software)
    world = counted.world
    witness = SigningKey.generate()
    world.rule = WitnessRule((witness.party,), 2, (counted.pinned,))
    world.restart(MemoryStore())
    assert world.confirm(witness).frozen
    counted.carrier.round()
    assert not world.describe().frozen
    counted.carrier.close()


def test_the_command_makes_a_counter_once_and_says_what_to_pin(software: SoftwareTpm, tmp_path: Path) -> None:
    told = []
    for _ in range(2):
        words = ["witness", "define-counter", "--tpm", software.name, "--home", str(tmp_path), "--json"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        told.append(json.loads(result.stdout))
    assert [one["made"] for one in told] == [True, False]
    assert told[0]["counter"] == told[1]["counter"]
    tpm = software.open()
    assert told[0]["counter"]["endorsement_key"] == tpm.endorsement_key.digest
    assert told[0]["counter"]["value"] == tpm.counter()
    tpm.close()
    public = load_pem_public_key(told[0]["endorsement_key"].encode())
    assert isinstance(public, EllipticCurvePublicKey)
    assert public.public_numbers().x.to_bytes(32, "big") == tpm.endorsement_key.x


def test_a_counter_that_never_counted_is_finished_and_another_index_is_left_alone(
    software: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power failed between the two commands; and an index that somebody else made for himself."""
    tpm = software.open()
    honest = Tpm.run

    def fail(tpm: Tpm, command: int, *rest: bytes) -> object:
        if command == NV_INCREMENT:
            raise UnavailableError("unavailable.tpm")
        return honest(tpm, command, *rest)

    with monkeypatch.context() as crash:
        crash.setattr(Tpm, "run", fail)
        with pytest.raises(UnavailableError, match="unavailable.tpm"):
            tpm.define_counter()
    assert tpm.counter() is None
    tpm.define_counter()
    assert tpm.counter() == 1
    tpm.close()
    with monkeypatch.context() as other:
        other.setattr(layouts, "COUNTER_ATTRIBUTES", layouts.COUNTER_ATTRIBUTES | 1 << 1)  # TPMA_NV_OWNERWRITE
        foreign = software.open(0x01500021)
        foreign.define_counter()
    with pytest.raises(UnavailableError, match="unavailable.tpm"):
        foreign.counter()
    foreign.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--tpm /dev/null/none", "unavailable.tpm"),
        ("--tpm unix:/none", "unavailable.tpm"),
        ("--tpm /dev/null", "unavailable.tpm"),
    ],
)
def test_a_device_that_is_none_is_refused_by_name(tmp_path: Path, words: str, code: str) -> None:
    arguments = ["witness", "define-counter", *words.split(), "--home", str(tmp_path), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == code


def test_settings_name_a_witness_of_one_kind(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    identity = tmp_path / "identity.json"
    Identity.generate("carrier", unsafe_simulation=True).write(identity)
    common = {"state_directory": str(tmp_path), "listen_port": 0, "attestation_url": "http://127.0.0.1:1"}
    common |= {"identity": str(identity)}
    kinds = [
        {},
        {"trust_settings_file": "b", "tpm_device": "/dev/tpmrm0"},
        {"peer_url": "http://127.0.0.1:1", "tpm_device": "/dev/tpmrm0"},
    ]
    for wrong in kinds:
        path.write_text(json.dumps(common | wrong))
        path.chmod(0o600)
        with pytest.raises(FormatError, match="format.message"):
            WitnessSettings.read(path)
    path.write_text(json.dumps(common | {"tpm_device": "/dev/tpmrm0"}))
    assert isinstance(build(WitnessSettings.read(path)), CounterCarrier)
    path.write_text(json.dumps(common | {"peer_url": "http://127.0.0.1:1"}))
    assert isinstance(build(WitnessSettings.read(path)), PeerCarrier)


def test_the_process_follows_like_any_witness(counted: Counted) -> None:
    stopped = threading.Event()
    thread = threading.Thread(target=watch, args=(counted.carrier, 0.001, stopped))
    thread.start()
    try:
        for _ in range(2000):
            if counted.carrier.broker_is_thawed:
                break
            stopped.wait(0.001)
        assert counted.carrier.broker_is_thawed
    finally:
        stopped.set()
        thread.join()
