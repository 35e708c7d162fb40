"""Profiles made by the command line, and this host judged by it, with a real TPM."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.cli import main
from common.crypto.digests import sha256_file
from common.crypto.signing import SigningKey
from common.messages.host_profile import HostProfile
from common.messages.signed import Signed, open_signed, read_document
from common.tpm_ima.allowed_files import files_text
from tests.fakes.ek_authority import EkAuthority
from tests.fakes.forged_host import claims_of, files
from tests.fakes.measured_host import MeasuredHost


class Owner:
    """A person at a measured host."""

    def __init__(self, place: Path, host: MeasuredHost) -> None:
        self.place, self.host = place, host
        self.ran("keygen", "--unsafe-simulation", "owner")

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--home", str(self.place / "home"), "--json"])

    def ran(self, *words: str) -> dict[str, object]:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        told: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
        return told

    def profile(self, output: str, *words: str) -> dict[str, object]:
        return self.ran(
            "host", "profile", "gpu-host", "--tpm", self.host.software.name, "--without-boot-log", *words,
            "-o", str(self.place / output),
        )  # fmt: skip

    def verify(self, profile: str, *words: str) -> Result:
        settings = self.host.settings
        return self.run(
            "verify", "host", "--profile", str(self.place / profile), "--issuers", str(settings.issuers),
            "--certificate", str(settings.certificate), "--tpm", settings.tpm, "--list", str(self.host.list),
            "--without-boot-log", *words,
        )  # fmt: skip


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    host = MeasuredHost(tmp_path / "host", EkAuthority())
    for one in files(3):
        host.run(*one)
    yield Owner(tmp_path, host)
    host.close()


def test_a_host_is_judged_by_a_profile_of_itself(owner: Owner) -> None:
    told = owner.profile("profile", "--from-list", str(owner.host.list))
    assert (told["name"], told["number"], told["files"]) == ("gpu-host", 1, 3)
    result = owner.verify("profile", "--ek-root", owner.host.authority.pinned)
    assert result.exit_code == 0, result.output
    assert "3 files ran" in result.stdout
    assert "Nobody has said" not in result.stdout
    assert "Nobody has said" in owner.verify("profile").stdout
    owner.host.run(b"/usr/bin/strange", bytes(range(32)))
    result = owner.verify("profile")
    assert result.exit_code == 1
    assert "appraisal.host_file" in result.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--ek-root", "1" * 64), "appraisal.root"),
        (("--signer", SigningKey.generate().party), "authenticity.signature"),
        (("--tpm", "unix:/nowhere"), "unavailable.tpm"),
        (("--list", "/nowhere"), "unavailable.host_log"),
    ],
)
def test_what_is_wrong_is_named(owner: Owner, words: tuple[str, ...], code: str) -> None:
    owner.profile("profile", "--from-list", str(owner.host.list))
    result = owner.verify("profile", *words)
    assert result.exit_code == 1
    assert code in result.output


def test_a_profile_grows_by_a_tree(owner: Owner, tmp_path: Path) -> None:
    owner.profile("first", "--from-list", str(owner.host.list), "--exclude", "/opt/old/")
    tree = tmp_path / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib" / "a b").write_text("a")
    (tree / "lib" / "noise.log").write_text("noise")
    (tree / "link").symlink_to("lib/a b")
    told = owner.profile(
        "second", "--from-tree", str(tree), "--mounted-at", "/opt/app", "--exclude", "/opt/app/lib/*.log",
        "--previous", str(tmp_path / "first"),
    )  # fmt: skip
    assert (told["number"], told["files"]) == (2, 4)
    added = b"sha256:%b /opt/app/lib/a_b" % sha256_file(tree / "lib" / "a b").encode()
    assert set((tmp_path / "second" / "files").read_bytes().splitlines()) == {*claims_of(files(3)), added}
    signed = Signed.decode((tmp_path / "second" / "profile.json").read_bytes())
    second = open_signed(signed, HostProfile, [signed.unverified_signer])
    assert (second.boot_log, second.exclusions) == ("none", ("/opt/old/", "/opt/app/lib/*.log"))
    first = Signed.decode((tmp_path / "first" / "profile.json").read_bytes())
    assert read_document(first, HostProfile).boot_registers == read_document(signed, HostProfile).boot_registers


def test_a_profile_of_before_is_taken_whole_or_not_at_all(owner: Owner, tmp_path: Path) -> None:
    """Whoever can write beside a signed profile must not get a line into the next one."""
    owner.profile("first", "--from-list", str(owner.host.list))
    listed = tmp_path / "first" / "files"
    listed.write_bytes(files_text([*claims_of(files(3)), *claims_of([(b"/usr/bin/strange", bytes(range(32)))])]))
    (tmp_path / "empty").mkdir()
    base = ("host", "profile", "gpu-host", "--tpm", owner.host.software.name, "--from-list", str(owner.host.list))
    for previous in ("first", "empty"):
        result = owner.run(*base, "--previous", str(tmp_path / previous), "-o", str(tmp_path / "second"))
        assert result.exit_code == 1
        assert "appraisal.host_profile" in result.output
        assert not (tmp_path / "second").exists()
        assert "appraisal.host_profile" in owner.verify(previous).output


def test_writes_are_allowed_by_choice_and_stay_allowed(owner: Owner, tmp_path: Path) -> None:
    from_list = ("--from-list", str(owner.host.list))
    owner.profile("first", *from_list)
    owner.profile("second", *from_list, "--allow-writes", "--previous", str(tmp_path / "first"))
    owner.profile("third", *from_list, "--previous", str(tmp_path / "second"))
    made = [Signed.decode((tmp_path / one / "profile.json").read_bytes()) for one in ("first", "second", "third")]
    assert [read_document(one, HostProfile).violations for one in made] == ["none", "any", "any"]


def test_a_profile_is_never_overwritten_and_its_name_is_one(owner: Owner) -> None:
    owner.profile("profile", "--from-list", str(owner.host.list))
    base = ("host", "profile", "--tpm", owner.host.software.name, "--from-list", str(owner.host.list))
    result = owner.run(*base, "gpu-host", "-o", str(owner.place / "profile"))
    assert "conflict.sealed_directory" in result.output
    for name in ("GPU", "../gpu", "9"):
        result = owner.run(*base, name, "-o", str(owner.place / "other"))
        assert "format.identifier" in result.output
        assert not (owner.place / "other").exists()
    assert owner.run("host", "profile", "gpu", "-o", str(owner.place / "other")).exit_code == 2
