import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.cli import main
from client.context import Party
from common.crypto.signing import SigningKey
from common.enclave.simulated_pki import SimulatedPki
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.errors import FreshnessError
from common.messages.collateral import CollateralBundle
from common.messages.evidence import Collateral

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlatform:
    return SimulatedPlatform.open_or_create(tmp_path_factory.mktemp("machine") / "platform")


@pytest.fixture
def state(tmp_path: Path, platform: SimulatedPlatform) -> Path:
    """A state directory as `cloister up` makes it, as far as these commands read it."""
    trust = TrustSettings(
        release_keys=(SigningKey.generate().party,), release_threshold=1, allowed_roots=(platform.allowed_root,),
        production=False,
    )  # fmt: skip
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "trust_settings.json").write_bytes(trust.encode())
    return tmp_path


def run(state: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["attestation", "collateral", *arguments, "--json", "--state", str(state)])


def nine_pieces(collateral: Collateral) -> str:
    """As PCS clients store them."""
    fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in dict(collateral).items()}
    return json.dumps(fields)


def test_a_file_is_imported_shown_and_carried_on(state: Path, platform: SimulatedPlatform, tmp_path: Path) -> None:
    (tmp_path / "pieces.json").write_text(nine_pieces(platform.pki.collateral(NOW)))
    imported = run(state, "import", str(tmp_path / "pieces.json"))
    assert imported.exit_code == 0, imported.output
    seen = json.loads(run(state, "show").stdout)
    assert (seen["fmspc"], seen["tcb_evaluation"], seen["current"]) == ("c0ffee000000", 17, True)
    assert seen["source"] == "file pieces.json"
    assert 0 <= seen["age_seconds"] < 60
    assert seen["issued"] < time.time() < seen["next_update"]
    assert run(state, "export", str(tmp_path / "bundle.json")).exit_code == 0
    elsewhere = ("--cache", str(tmp_path / "elsewhere"))
    assert run(state, "import", str(tmp_path / "bundle.json"), *elsewhere).exit_code == 0
    assert json.loads(run(state, "show", *elsewhere).stdout)["name"] == "sgx-c0ffee000000-platform"


def test_an_empty_cache_says_so(state: Path, tmp_path: Path) -> None:
    assert "no collateral" in run(state, "show").stdout
    assert run(state, "export", str(tmp_path / "bundle.json")).exit_code == 1


def test_for_people(state: Path, platform: SimulatedPlatform, tmp_path: Path) -> None:
    bundle = CollateralBundle(sets=(platform.pki.collateral(NOW),))
    (tmp_path / "bundle.json").write_bytes(bundle.encode())
    words = ["attestation", "collateral", "import", str(tmp_path / "bundle.json"), "--state", str(state)]
    shown = CliRunner().invoke(main, words).output
    assert "FMSPC c0ffee000000" in shown
    assert "TCB evaluation 17" in shown
    assert "next update" in shown


@pytest.mark.parametrize("what", ["foreign", "older", "expired", "no JSON", "another message", "too large"])
def test_what_is_not_good_is_refused_and_displaces_nothing(
    state: Path, platform: SimulatedPlatform, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "file.json"
    path.write_text(nine_pieces(platform.pki.collateral(NOW)))
    assert run(state, "import", str(path)).exit_code == 0
    before = (state / "attestation" / "collateral" / "sgx-c0ffee000000-platform.json").read_bytes()
    content, code = {
        "foreign": (nine_pieces(SimulatedPki.generate(NOW).collateral(NOW)), "appraisal.root"),
        "older": (nine_pieces(platform.pki.collateral(NOW - timedelta(days=2))), "freshness.collateral"),
        "expired": (nine_pieces(platform.pki.collateral(NOW - timedelta(days=40))), "freshness.collateral"),
        "no JSON": ("{", "format.collateral"),
        "another message": ('{"type":"release"}', "format.message"),
        "too large": (" " * ((16 << 20) + 1), "format.too_large"),
    }[what]
    path.write_text(content)
    refused = run(state, "import", str(path))
    assert refused.exit_code == 1
    assert json.loads(refused.stdout.splitlines()[-1])["code"] == code
    assert (state / "attestation" / "collateral" / "sgx-c0ffee000000-platform.json").read_bytes() == before


def test_a_party_remembers_how_new_a_brokers_collateral_was(tmp_path: Path, platform: SimulatedPlatform) -> None:
    party = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    party.remember_collateral(platform.pki.collateral(NOW))
    again = Party(tmp_path / "owner")
    again.remember_collateral(platform.pki.collateral(NOW))
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        again.remember_collateral(platform.pki.collateral(NOW - timedelta(days=1)))
