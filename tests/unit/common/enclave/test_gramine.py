"""SGX under Gramine, on a folder like its /dev/attestation: real quotes, and every way in which a host can fail it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.crypto.keys import derive_from_hardware
from common.crypto.labels import PLATFORM_SEALING
from common.crypto.signing import SigningKey
from common.dcap.quote_format import parse_quote
from common.dcap.roots import INTEL_ROOT_KEY_SHA256
from common.enclave.gramine import GramineRuntime, is_sgx
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.errors import UnavailableError
from common.identifiers import MrEnclave
from common.messages.evidence import AllowedRoot, DcapQuote, TrustLevel
from tests.fakes.attestation_device import AttestationDevice, QuotingRuntime

OWN, OTHER = MrEnclave("a1" * 32), MrEnclave("b2" * 32)
DATA = bytes(range(64))
TRUST = TrustSettings(
    release_keys=(SigningKey.generate().party,),
    release_threshold=1,
    allowed_roots=(AllowedRoot(platform="sgx", root_key_sha256=INTEL_ROOT_KEY_SHA256),),
    production=False,
)


@pytest.fixture
def platform(tmp_path: Path) -> SimulatedPlatform:
    return SimulatedPlatform.open_or_create(tmp_path / "platform")


@pytest.fixture
def device(tmp_path: Path, platform: SimulatedPlatform) -> AttestationDevice:
    return AttestationDevice(tmp_path / "attestation", platform, OWN)


def runtime(device: AttestationDevice) -> GramineRuntime:
    return GramineRuntime(TRUST, device.folder)


def test_it_tells_its_own_measurement_and_level(device: AttestationDevice) -> None:
    assert runtime(device).measurement == OWN
    assert runtime(device).trust_level is TrustLevel.SGX


def test_a_quote_is_over_what_was_written_without_the_buffers_zeros(device: AttestationDevice) -> None:
    device.show(device.quote(DATA) + bytes(3000))
    evidence = runtime(device).evidence(DATA)
    assert (device.folder / "user_report_data").read_bytes() == DATA
    assert isinstance(evidence, DcapQuote)
    assert evidence.quote[368:432] == DATA
    assert evidence.quote[112:144] == OWN.raw()
    assert parse_quote(evidence.quote).tee == "sgx"


def test_sealing_keys_are_of_processor_measurement_and_label(device: AttestationDevice, tmp_path: Path) -> None:
    first = runtime(device)
    assert first.sealing_key(b"state") == derive_from_hardware(device.key, PLATFORM_SEALING, OWN.raw(), b"state")
    assert first.sealing_key(b"state") != first.sealing_key(b"log")
    elsewhere = AttestationDevice(tmp_path / "elsewhere", device.platform, OWN, key=b"\x09" * 16)
    assert runtime(elsewhere).sealing_key(b"state") != first.sealing_key(b"state")


SPOILT: dict[str, Callable[[AttestationDevice], bytes]] = {
    "stale": lambda device: device.quote(bytes(64)),
    "of another": lambda device: device.quote(DATA, OTHER),
    "cut": lambda device: device.quote(DATA)[:-1],
    "longer": lambda device: device.quote(DATA) + b"\0\1",
    "short": lambda device: device.quote(DATA)[:100],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_quote_that_is_not_this_launchs_is_refused(device: AttestationDevice, what: str) -> None:
    device.show(SPOILT[what](device))
    with pytest.raises(UnavailableError, match="unavailable.launcher"):
        runtime(device).evidence(DATA)


@pytest.mark.parametrize("name", ["attestation_type", "my_target_info"])
def test_a_folder_without_it_is_refused(device: AttestationDevice, name: str) -> None:
    (device.folder / name).unlink()
    with pytest.raises(UnavailableError, match="unavailable.launcher") as refused:
        runtime(device)
    assert name in refused.value.in_full()


def test_a_manifest_without_quotes_is_refused(device: AttestationDevice) -> None:
    (device.folder / "attestation_type").write_text("none")
    with pytest.raises(UnavailableError, match="unavailable.launcher") as refused:
        runtime(device)
    assert "dcap" in refused.value.in_full()


def test_a_quote_that_the_host_withholds_is_named(device: AttestationDevice) -> None:
    with pytest.raises(UnavailableError) as refused:
        runtime(device).evidence(DATA)
    assert "attestation/quote" in refused.value.in_full()


def test_a_key_that_is_not_there_is_named(device: AttestationDevice) -> None:
    own = runtime(device)
    (device.folder / "keys/_sgx_mrenclave").unlink()
    with pytest.raises(UnavailableError) as refused:
        own.sealing_key(b"state")
    assert "_sgx_mrenclave" in refused.value.in_full()


def test_a_short_key_is_refused(device: AttestationDevice) -> None:
    (device.folder / "keys/_sgx_mrenclave").write_bytes(b"\x01" * 15)
    with pytest.raises(UnavailableError, match="unavailable.launcher"):
        runtime(device).sealing_key(b"state")


def test_threads_take_turns(device: AttestationDevice) -> None:
    own = QuotingRuntime(TRUST, device)
    chosen = [bytes([number]) * 64 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        quotes = [evidence.quote for evidence in threads.map(own.evidence, chosen)]
    assert [quote[368:432] for quote in quotes] == chosen


def test_it_is_told_by_what_gramine_makes_inside_sgx_alone(device: AttestationDevice, tmp_path: Path) -> None:
    assert is_sgx(device.folder)
    (tmp_path / "direct" / "keys").mkdir(parents=True)
    assert not is_sgx(tmp_path / "direct")
    assert not is_sgx()
