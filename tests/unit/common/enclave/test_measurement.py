"""What changes a measurement, and what does not."""

import hashlib
from pathlib import Path

import pytest

from common.crypto.signing import SigningKey
from common.dcap import INTEL_ROOT_KEY_SHA256
from common.enclave.development import CODE_ROOT
from common.enclave.measurement import BOOT_FILE, listing, measure, measured_content, mr_enclave_of
from common.enclave.roles import ROLES, RoleSpec
from common.enclave.snapshot import read_snapshot, remove_snapshot, take_snapshot
from common.enclave.trust_settings import TRUST_SETTINGS_FILE, TrustSettings
from common.identifiers import Digest, RoleName
from common.messages.evidence import AllowedRoot
from tests.fakes.installation import PROBE

ENVIRONMENT = Digest("e" * 64)
KEY = SigningKey.generate().party
TRUST = TrustSettings(
    release_keys=(KEY,),
    release_threshold=1,
    production=False,
    allowed_roots=(AllowedRoot(platform="sgx", root_key_sha256=INTEL_ROOT_KEY_SHA256),),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in measured_content(PROBE, CODE_ROOT, TRUST).items():
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_bytes(content)
    return tmp_path / "code"


def test_every_byte_of_every_file_counts(root: Path) -> None:
    files = listing(measured_content(PROBE, root, TRUST))
    good = mr_enclave_of(files, PROBE, ENVIRONMENT)
    assert BOOT_FILE in files
    for name in files.keys() - {TRUST_SETTINGS_FILE}:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content + b"\n")
        assert measure(PROBE, root, TRUST, ENVIRONMENT) != good, name
        (root / name).write_bytes(content)
    assert measure(PROBE, root, TRUST, ENVIRONMENT) == good


def test_trust_settings_environment_and_entry_count(root: Path) -> None:
    more = TRUST.model_copy(update={"release_keys": (KEY, SigningKey.generate().party)})
    other_entry = RoleSpec(role=RoleName("probe"), entry="tests.fakes.probe_enclave", needs_sandbox=False)
    values = {
        measure(PROBE, root, TRUST, ENVIRONMENT),
        measure(PROBE, root, more, ENVIRONMENT),
        measure(PROBE, root, TRUST, Digest("f" * 64)),
        mr_enclave_of(
            listing(measured_content(PROBE, root, TRUST)),
            other_entry.model_copy(update={"entry": "common.door"}),
            ENVIRONMENT,
        ),
    }
    assert len(values) == 4
    assert measure(other_entry, root, TRUST, ENVIRONMENT) in values


def test_names_are_bound_to_contents() -> None:
    one, two = Digest("1" * 64), Digest("2" * 64)
    assert mr_enclave_of({"a": one, "b": two}, PROBE, ENVIRONMENT) != mr_enclave_of(
        {"a": two, "b": one}, PROBE, ENVIRONMENT
    )
    assert mr_enclave_of({"b": two, "a": one}, PROBE, ENVIRONMENT) == mr_enclave_of(
        {"a": one, "b": two}, PROBE, ENVIRONMENT
    )


def test_the_measurement_is_what_its_format_says() -> None:
    """Computed by hand from the format in the module's docstring."""

    def framed(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(8, "big") + part for part in parts)

    argv = framed(b"argv", b"-I", b"-S", b"-B", b"-X", b"utf8", b"common/enclave/boot.py", b"tests.fakes.probe_enclave")
    files = framed(b"files", b"a.py", b"\x11" * 32, b"b.py", b"\x22" * 32)
    expected = hashlib.sha256(framed(b"cloister/v1/measurement", b"\xee" * 32, argv, files)).hexdigest()
    measured = mr_enclave_of({"b.py": Digest("22" * 32), "a.py": Digest("11" * 32)}, PROBE, ENVIRONMENT)
    assert measured == expected


def test_other_files_do_not_count(root: Path) -> None:
    good = measure(PROBE, root, TRUST, ENVIRONMENT)
    (root / "unrelated.py").write_text("x = 1\n")
    (root / "common" / "__pycache__").mkdir()
    (root / "common" / "__pycache__" / "door.cpython-311.pyc").write_bytes(b"hostile")
    assert measure(PROBE, root, TRUST, ENVIRONMENT) == good


def test_a_role_with_a_sandbox_measures_what_runs_in_it(root: Path) -> None:
    sandboxed = PROBE.model_copy(update={"needs_sandbox": True})
    (root / "common" / "sandboxed").mkdir(exist_ok=True)
    (root / "common" / "sandboxed" / "data.bin").write_bytes(b"1")
    before = measure(sandboxed, root, TRUST, ENVIRONMENT)
    (root / "common" / "sandboxed" / "data.bin").write_bytes(b"2")
    assert measure(sandboxed, root, TRUST, ENVIRONMENT) != before


def test_a_snapshot_holds_exactly_what_is_measured(root: Path, tmp_path: Path) -> None:
    content = measured_content(PROBE, root, TRUST)
    place = take_snapshot(content, tmp_path / "snapshots")
    assert read_snapshot(place) == listing(content)
    assert take_snapshot(content, tmp_path / "snapshots") == place
    assert TrustSettings.decode((place / TRUST_SETTINGS_FILE).read_bytes()) == TRUST
    assert (place / BOOT_FILE).stat().st_mode & 0o222 == 0
    remove_snapshot(place)
    assert not place.exists()


@pytest.mark.parametrize("harm", ["change", "add", "remove", "link"])
def test_a_harmed_snapshot_is_made_anew(root: Path, tmp_path: Path, harm: str) -> None:
    content = measured_content(PROBE, root, TRUST)
    place = take_snapshot(content, tmp_path / "snapshots")
    (place / "common").chmod(0o755)
    victim = place / "common" / "door.py"
    victim.chmod(0o644)
    if harm == "change":
        victim.write_bytes(b"pass\n")
    elif harm == "add":
        (place / "common" / "planted.py").write_bytes(b"pass\n")
    else:
        victim.unlink()
    if harm == "link":
        victim.symlink_to(root / "common" / "door.py")
    assert read_snapshot(place) != listing(content)
    assert read_snapshot(take_snapshot(content, tmp_path / "snapshots")) == listing(content)


def test_the_roles_of_a_release_are_four() -> None:
    assert set(ROLES) == {"broker", "trainer", "paramserver", "query"}
    assert {name for name, spec in ROLES.items() if spec.needs_sandbox} == {"trainer", "query"}
