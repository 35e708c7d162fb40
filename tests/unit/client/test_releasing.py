"""A release goes from hand to hand: drafted, built and signed by one after the other, shown, revoked."""

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import releasing
from client.cli import main
from client.context import Party
from client.measuring import list_own_files
from common.enclave.simulated_pki import SimulatedPki
from common.enclave.simulated_quote import encode_report, sign_quote
from common.enclave.trust_settings import (
    TrustSettings,
    require_platform_inventory,
    require_release,
    require_release_revocation,
)
from common.identifiers import Digest
from common.messages.evidence import AllowedRoot, TdxDcapEvidence, TrustLevel
from common.messages.reference_values import TD_SEPT_VE_DISABLE, SgxReferenceValue, TdxReferenceValue
from common.messages.release import Release
from common.messages.signed import Signed, sign
from tests.fakes.domain_world import value_of
from tests.fakes.sigstructs import sigstruct
from tests.fakes.tdx_quotes import TdReport, sign_td_quote, tdx_collateral

CODE = bytes(range(32))
Run = Callable[..., list[dict[str, Any]]]


measured_once = functools.cache(list_own_files)
"""Of one trust settings; the code does not change while tests run."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann, Bob and Eve hold release keys; Mallory has another."""
    directory = tmp_path_factory.mktemp("home")
    for name in ("ann", "bob", "eve", "mallory"):
        Party.create(directory / name, name, unsafe_simulation=True)
    return directory


@pytest.fixture
def trust(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustSettings:
    """Two of three."""
    monkeypatch.setattr(releasing, "list_own_files", measured_once)
    shutil.copytree(home, tmp_path / "home")
    keys = [Party(home / name).identity.signing_key.party for name in ("ann", "bob", "eve")]
    settings = TrustSettings(
        release_keys=tuple(keys), release_threshold=2, production=False,
        allowed_roots=(AllowedRoot(platform="sgx", root_key_sha256=Digest("a" * 64)),),
    )  # fmt: skip
    (tmp_path / "trust.json").write_bytes(settings.encode())
    (tmp_path / "trainer.sig").write_bytes(sigstruct(CODE))
    return settings


@pytest.fixture
def release(tmp_path: Path, trust: TrustSettings) -> Run:
    """`cloister release ... --json`; what it told."""

    def run(command: str, *arguments: str | Path, status: int = 0) -> list[dict[str, Any]]:
        words = ["release", command, *map(str, arguments), "--home", str(tmp_path / "home"), "--json"]
        if command not in ("files", "revoke", "publish-inventory"):
            words += ["--trust-settings", str(tmp_path / "trust.json")]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == status, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


@pytest.fixture
def file(tmp_path: Path, release: Run) -> Path:
    """A draft."""
    release("draft", "--name", "test", "--tag", "1.0", "-o", tmp_path / "release.json")
    return tmp_path / "release.json"


def missing(told: list[dict[str, Any]]) -> int:
    assert told[-1]["type"] == "signatures-counted"
    return int(told[-1]["missing"])


def test_two_of_three_make_a_release(release: Run, file: Path, trust: TrustSettings) -> None:
    drafted = release("show", file)
    assert (missing(drafted), {one["role"] for one in drafted if one["type"] == "role-released"}) == (
        2,
        {"broker", "trainer", "paramserver", "query"},
    )
    assert missing(release("sign", file, "--as", "ann")) == 1
    assert missing(release("sign", file, "--as", "ann")) == 1, "nobody counts twice"
    signed = release("sign", file, "--as", "eve")
    assert missing(signed) == 0
    (shown,) = [one for one in signed if one["type"] == "release-shown"]
    (first,) = [one for one in drafted if one["type"] == "release-shown"]
    assert shown["digest"] == first["digest"] == Signed.decode(file.read_bytes()).digest
    assert require_release(Signed.decode(file.read_bytes()), trust).tag == "1.0"


def test_nobody_else_signs(release: Run, file: Path) -> None:
    before = file.read_bytes()
    (refused,) = release("sign", file, "--as", "mallory", status=1)
    assert (refused["code"], refused["mender"]) == ("policy.release_key", "sender")
    assert file.read_bytes() == before


def test_foreign_signatures_are_shown_as_such_and_wrong_ones_refused(release: Run, file: Path, tmp_path: Path) -> None:
    mallory = Party(tmp_path / "home" / "mallory").identity.signing_key
    signed = sign(Release.decode(file.read_bytes()), mallory)
    file.write_bytes(signed.encode())
    told = release("show", file)
    assert (missing(told), told[-1]["outsiders"]) == (2, [mallory.party])
    file.write_bytes(signed.model_copy(update={"payload": signed.payload.replace(b"1.0", b"2.0")}).encode())
    for command in (("show", file), ("sign", file, "--as", "ann")):
        assert release(*command, status=1)[-1]["code"] == "authenticity.signature"


@pytest.mark.parametrize("harm", ["code", "platform", "role", "attributes"])
def test_a_signer_who_builds_something_else_does_not_sign(release: Run, file: Path, harm: str) -> None:
    """Also what a targeted build needs: another enclave, or one more beside the one that was reviewed."""
    drafted = json.loads(file.read_bytes())
    values = drafted["measurements"]
    evil = values["trainer"]["simulation"] | {"mr_enclave": "ee" * 32}
    if harm == "code":
        values["trainer"]["simulation"] = evil
    elif harm == "platform":
        values["trainer"]["sgx"] = evil
    elif harm == "role":
        values["helper"] = {"simulation": evil}
    else:
        values["trainer"]["simulation"]["attribute_flags"] = 0x15
    file.write_text(json.dumps(drafted))
    refused = release("sign", file, "--as", "ann", status=1)[-1]
    assert (refused["code"], file.read_text()) == ("appraisal.own_build", json.dumps(drafted))
    assert missing(release("sign", file, "--as", "ann", "--unsafe-unmeasured")) == 1


def test_every_signature_is_over_the_bytes_that_were_drafted(release: Run, file: Path, trust: TrustSettings) -> None:
    file.write_text(json.dumps(json.loads(file.read_bytes()), indent=1))
    release("sign", file, "--as", "ann")
    release("sign", file, "--as", "bob")
    assert b"\n" in require_signed(file).payload
    require_release(require_signed(file), trust)


def require_signed(file: Path) -> Signed:
    return Signed.decode(file.read_bytes())


def test_sgx_enclaves_are_released_by_their_sig_files_with_terms_over_the_tcb(
    release: Run, tmp_path: Path, trust: TrustSettings
) -> None:
    file, sig = tmp_path / "sgx.json", f"trainer={tmp_path / 'trainer.sig'}"
    options = ["--accept-status", "UpToDate", "--accept-status", "SWHardeningNeeded", "--min-tcb-evaluation", "17"]
    release("draft", "--name", "test", "--tag", "1", "-o", file, "--sig", sig, *options)
    reference = Release.decode(file.read_bytes()).reference("trainer", TrustLevel.SGX)
    assert isinstance(reference, SgxReferenceValue)
    assert (reference.mr_enclave, reference.tcb.min_tcb_evaluation) == (CODE.hex(), 17)
    assert len(reference.tcb.accepted_statuses) == 2
    assert Release.decode(file.read_bytes()).reference("trainer", TrustLevel.SIMULATION).tcb.min_tcb_evaluation == 0
    assert release("sign", file, "--as", "ann", status=1)[-1]["code"] == "appraisal.own_build"
    assert missing(release("sign", file, "--as", "ann", "--sig", sig)) == 1


@pytest.fixture
def domain(tmp_path: Path) -> TdReport:
    """A trust domain of the trainer's: its value as a file, and quotes, bare and with collateral."""
    report, pki = TdReport(mr_td=b"\x77" * 48), SimulatedPki.generate(datetime.now(UTC))
    quote = sign_td_quote(report.encode(), pki.pck.key, pki.pck.key, pki.pck_chain)
    (tmp_path / "trainer.quote").write_bytes(quote)
    evidence = TdxDcapEvidence(quote=quote, collateral=tdx_collateral(pki, datetime.now(UTC)))
    (tmp_path / "trainer.evidence").write_bytes(evidence.encode())
    (tmp_path / "trainer.value").write_bytes(value_of(report).encode())
    return report


@pytest.mark.parametrize("kind", ["value", "quote", "evidence"])
def test_trust_domains_are_released_by_a_value_file_or_a_quote(
    release: Run, tmp_path: Path, trust: TrustSettings, domain: TdReport, kind: str
) -> None:
    file, own = tmp_path / "tdx.json", f"trainer={tmp_path / 'trainer'}.{kind}"
    release("draft", "--name", "test", "--tag", "1", "-o", file, "--td", own, "--min-tcb-evaluation", "17")
    reference = Release.decode(file.read_bytes()).reference("trainer", TrustLevel.TDX)
    assert isinstance(reference, TdxReferenceValue)
    assert (reference.mr_td, reference.rtmrs[2], reference.tcb.min_tcb_evaluation) == ("77" * 48, "23" * 48, 17)
    assert reference.rtmrs[0] == (None if kind == "value" else "21" * 48)
    shown = release("show", file)
    assert [one["registers"] for one in shown if one.get("platform") == "tdx"] == [list(reference.rtmrs)]
    assert release("sign", file, "--as", "ann", status=1)[-1]["code"] == "appraisal.own_build"
    other = tmp_path / "other.quote"
    pki = SimulatedPki.generate(datetime.now(UTC))
    for harm in ({"mr_td": bytes(48)}, {"rtmrs": (b"\x21" * 48, bytes(48), b"\x23" * 48, bytes(48))},
                 {"mr_owner": b"\1" * 48}, {"attributes": TD_SEPT_VE_DISABLE | 1 << 30}):  # fmt: skip
        other.write_bytes(sign_td_quote(replace(domain, **harm).encode(), pki.pck.key, pki.pck.key, pki.pck_chain))
        refused = release("sign", file, "--as", "ann", "--td", f"trainer={other}", status=1)
        assert refused[-1]["code"] == "appraisal.own_build", harm
    assert missing(release("sign", file, "--as", "ann", "--td", f"trainer={tmp_path / 'trainer.quote'}")) == 1


def test_neither_a_debug_domain_nor_what_is_no_domain_is_released(
    release: Run, tmp_path: Path, trust: TrustSettings, domain: TdReport
) -> None:
    pki = SimulatedPki.generate(datetime.now(UTC))
    debug = replace(domain, attributes=TD_SEPT_VE_DISABLE | 1)
    sgx = sign_quote(encode_report(CODE, bytes(64)), pki.pck.key, pki.pck.key, pki.pck_chain)
    for content, code in (
        (sign_td_quote(debug.encode(), pki.pck.key, pki.pck.key, pki.pck_chain), "appraisal.debug"),
        (value_of(domain, td_attributes=TD_SEPT_VE_DISABLE | 1).encode(), "appraisal.debug"),
        (sgx, "format.quote"),
        (b"{}", "format.quote"),
        (b'{"type":"tdx"}', "format.message"),
        (b"", "format.quote"),
    ):
        (tmp_path / "bad").write_bytes(content)
        arguments = ("--name", "test", "--tag", "1", "-o", tmp_path / "new.json", "--td", f"query={tmp_path / 'bad'}")
        assert release("draft", *arguments, status=1)[-1]["code"] == code, content[:20]
        assert not (tmp_path / "new.json").exists()


def test_a_debug_enclave_is_not_released(release: Run, tmp_path: Path) -> None:
    (tmp_path / "debug.sig").write_bytes(sigstruct(CODE, flags=0x06))
    arguments = (
        "--name",
        "test",
        "--tag",
        "1",
        "-o",
        tmp_path / "new.json",
        "--sig",
        f"query={tmp_path / 'debug.sig'}",
    )
    assert release("draft", *arguments, status=1)[-1]["code"] == "appraisal.debug"
    assert not (tmp_path / "new.json").exists()


def test_a_draft_overwrites_nothing(release: Run, file: Path) -> None:
    before = file.read_bytes()
    told = release("draft", "--name", "test", "--tag", "2", "-o", file, status=1)
    assert (told[-1]["code"], file.read_bytes()) == ("conflict.release_file", before)


def test_a_file_that_is_no_release_is_refused(release: Run, tmp_path: Path, trust: TrustSettings) -> None:
    for number, content in enumerate(
        (b"", b"[]", b"{}", trust.encode(), b'{"type":"signed"}', b'{"type":["release"]}')
    ):
        path = tmp_path / f"bad-{number}"
        path.write_bytes(content)
        assert release("show", path, status=1)[-1]["code"] == "format.message"


def test_a_revocation_is_signed_like_a_release(release: Run, file: Path, tmp_path: Path, trust: TrustSettings) -> None:
    revocation = tmp_path / "revocation.json"
    drafted = release("draft-revocation", file, "--successor", file, "-o", revocation)
    assert missing(drafted) == 2
    for name, left in (("ann", 1), ("bob", 0)):
        assert missing(release("sign", revocation, "--as", name)) == left
    read = require_release_revocation(require_signed(revocation), trust)
    assert read.release == read.successor == drafted[0]["release"]
    assert release("draft-revocation", revocation, "-o", tmp_path / "x", status=1)[-1]["code"] == "format.message"


def test_an_inventory_goes_from_hand_to_hand_and_each_continues_the_last(
    release: Run, tmp_path: Path, trust: TrustSettings
) -> None:
    first, second = tmp_path / "inventory.json", tmp_path / "inventory2.json"
    one, other = "ab" * 16, "cd" * 16
    release("draft-inventory", "--known", one, "--known", other, "-o", first)
    for name in ("ann", "bob"):
        told = release("sign", first, "--as", name)
    assert missing(told) == 0
    assert require_platform_inventory(Signed.decode(first.read_bytes()), trust).platforms == (one, other)
    (shown, _) = release("draft-inventory", "--previous", first, "--revoke", one, "-o", second)
    assert (shown["number"], shown["platforms"], shown["revoked"]) == (2, [other], [one])
    assert missing(release("show", second)) == 2
    refused = release("draft-inventory", "--previous", second, "--known", one, "-o", tmp_path / "no.json", status=1)
    assert refused[-1]["code"] == "format.message"
    assert not (tmp_path / "no.json").exists()
