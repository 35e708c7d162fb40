"""`cloister policy` for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.cli import main
from client.context import Party
from client.policy_changes import joined
from client.policy_terms import NOBODY, PolicyTerms, sign_policy
from common.errors import AuthenticityError, ConflictError
from common.identifiers import DatasetId, Digest, PartyKey
from common.messages.policy import DataPolicy
from common.messages.signed import Signed, open_signed

GOOD = (
    f"policy: data\nallow: {{providers: [{'a' * 64}]}}\nuntil: 2099-06-30\nanswering: {{answers: 10, detail: label}}\n"
)
DATASET = DatasetId("data_" + "1" * 32)


def run(tmp_path: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(main, [*arguments, "--home", str(tmp_path / "home"), "--json"])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_checked(tmp_path: Path, file: Path) -> None:
    status, told = run(tmp_path, "policy", "check", str(file))
    assert (status, told) == (0, [{"type": "policy-checked", "file": str(file), "kind": "data", "hints": []}])


def test_hints_say_what_is_probably_not_meant(tmp_path: Path, file: Path) -> None:
    file.write_text(
        f"policy: data\nallow: {{}}\ncolumns: [image]\nuntil: 2000-01-01\nat_most: {{bits: 0}}\n"
        f"answering: {{answers: 1}}\nchanging: {{approvers: [{'a' * 64}]}}\n"
    )
    _, told = run(tmp_path, "policy", "check", str(file))
    assert [one.split(":")[0] for one in told[0]["hints"]] == ["until", "allow", "columns", "at_most", "changing"]


def test_mistakes_are_told_with_line_and_column(tmp_path: Path, file: Path) -> None:
    file.write_text(GOOD.replace("answers: 10", "answers: ten"))
    status, told = run(tmp_path, "policy", "check", str(file))
    assert (status, [one["type"] for one in told]) == (1, ["policy-problem", "refused"])
    assert (told[0]["line"], told[0]["column"], told[0]["expected"]) == (4, 22, "a whole number")
    assert told[1]["code"] == "format.policy"
    shown = CliRunner().invoke(main, ["policy", "check", str(file)])
    assert "4:22 answering.answers: expected a whole number" in shown.output


def test_a_file_and_a_data_set_are_explained(tmp_path: Path, file: Path) -> None:
    status, told = run(tmp_path, "policy", "explain", str(file), "--classes", "10", "--ticks", "100")
    assert (status, told[0]["bits_per_answer"], told[0]["answer_bits"]) == (0, 11, 110)
    party = Party.create(tmp_path / "home" / "owner", "owner", unsafe_simulation=True)
    assert run(tmp_path, "policy", "explain", DATASET)[1][0]["code"] == "not_found.dataset"
    party.keep_document("policies", DATASET, sign_policy(party, NOBODY))
    assert run(tmp_path, "policy", "explain", DATASET)[1][0]["bits"] == 0


def test_a_file_is_compared_with_what_is_in_force(tmp_path: Path, file: Path) -> None:
    party = Party.create(tmp_path / "home" / "owner", "owner", unsafe_simulation=True)
    party.keep_document("policies", DATASET, sign_policy(party, NOBODY))
    _, told = run(tmp_path, "policy", "diff", DATASET, str(file))
    assert f"allow.providers: {'a' * 64}" in told[0]["becomes_possible"]
    assert told[0]["stops"] == [
        "answering.detail: label instead of scores"
    ]  # not the trust level: this identity signs the same
    assert run(tmp_path, "policy", "diff", str(file), str(file))[1][0]["becomes_possible"] == []


def proposal_of(tmp_path: Path, *approvers: PartyKey) -> Path:
    owner = Party.create(tmp_path / "home" / "owner", "owner", unsafe_simulation=True)
    first = sign_policy(owner, NOBODY.model_copy(update={"approvers": approvers, "approvals_needed": 2}))
    path = tmp_path / "proposal.json"
    path.write_bytes(sign_policy(owner, PolicyTerms(releases=(Digest("b" * 64),)), first).encode())
    return path


def test_approvers_sign_what_they_are_told(tmp_path: Path) -> None:
    names = ("ann", "bob")
    parties = [Party.create(tmp_path / "home" / name, name, unsafe_simulation=True) for name in names]
    keys = [party.identity.signing_key.party for party in parties]
    proposal = proposal_of(tmp_path, *keys)
    for name in names:
        output = str(tmp_path / f"{name}.json")
        status, told = run(tmp_path, "policy", "approve", str(proposal), "--as", name, "-o", output)
        assert (status, [one["type"] for one in told]) == (0, ["policy-explained", "policy-to-approve"])
    both = joined([Signed.decode((tmp_path / f"{name}.json").read_bytes()) for name in names])
    policy = open_signed(both, DataPolicy, keys, threshold=2)
    assert [one.signer for one in both.signatures] == [policy.owner, *keys]


def test_a_proposal_that_was_changed_is_not_approved(tmp_path: Path) -> None:
    Party.create(tmp_path / "home" / "ann", "ann", unsafe_simulation=True)
    proposal = proposal_of(tmp_path, PartyKey("a" * 64), PartyKey("c" * 64))
    signed = Signed.decode(proposal.read_bytes())
    changed = signed.payload.replace(b'"max_jobs":1', b'"max_jobs":9')
    proposal.write_bytes(signed.model_copy(update={"payload": changed}).encode())
    status, told = run(tmp_path, "policy", "approve", str(proposal), "--as", "ann")
    assert (status, told[-1]["code"]) == (1, "authenticity.signature")


def test_approvals_of_different_texts_do_not_join(tmp_path: Path) -> None:
    owner = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    with pytest.raises(ConflictError):
        joined([sign_policy(owner, NOBODY), sign_policy(owner, PolicyTerms())])
    with pytest.raises(AuthenticityError):
        open_signed(sign_policy(owner, NOBODY), DataPolicy, [PartyKey("a" * 64)])


def test_a_file_of_the_other_kind_is_refused(tmp_path: Path, file: Path) -> None:
    Party.create(tmp_path / "home" / "owner", "owner", unsafe_simulation=True)
    file.write_text("policy: bundle\nuntil: 2099-01-01\nanswering: {}\n")
    status, told = run(tmp_path, "owner", "policy", DATASET, "--file", str(file))
    assert (status, told[0]["code"], told[0]["expected"]) == (1, "format.policy", "`policy: data`")
