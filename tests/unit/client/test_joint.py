"""What an owner looks at before it signs an order that another has drafted."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from client import joint, ordering
from client import joint_events as j
from client.commands.joint import draft as draft_command
from client.commands.types import PARTNER
from client.context import Party, PinnedTrust
from client.events import Event, OrderPreview, outcome
from client.rendering import Terminal
from common.crypto.digests import sha256
from common.errors import (
    AppraisalError,
    AuthenticityError,
    ConflictError,
    FormatError,
    FreshnessError,
    NotFoundError,
    PolicyError,
    Refusal,
)
from common.identifiers import BundleId, DatasetId, PartyKey
from common.messages.order import AnswerTerms, TrainingOrder
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbTerms
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.machines import names_of
from tests.fakes.operator import Operator, operating
from tests.vectors.sample_documents import POLICY, PUBLICATION

DATASETS = [DatasetId.of(sha256(bytes([number]))) for number in range(2)]
BUNDLE = BundleId.of(sha256(b"bundle"))


class Owners:
    """Two owners who have pinned one broker, and an order of both, drafted by the first."""

    def __init__(self, directory: Path, operator: Operator) -> None:
        self.world, self._endpoints = operator.world, operator.endpoints
        self.parties = [self._party(directory, name) for name in ("first", "second")]
        for party, dataset_id in zip(self.parties, DATASETS, strict=True):
            party.keep_document("policies", dataset_id, sign(POLICY, party.identity.signing_key))
        self.file = directory / "order.json"
        training = ordering.Training(DATASETS[0], BUNDLE, trainers=3, minimal_rounds=2)
        self.partner = joint.Partner(DATASETS[1], self.keys[1], minimal_rounds=5)
        self.drafted = list(joint.draft(self.parties[0], training, [self.partner], self.file))

    def _party(self, directory: Path, name: str) -> Party:
        party = Party.create(directory / name, name, unsafe_simulation=True)
        pinned = PinnedTrust(
            endpoints=self._endpoints, trust_settings=self.world.trust, release=self.world.release,
            broker=self.world.genesis,
        )  # fmt: skip
        party.pin(pinned)
        return party

    @property
    def keys(self) -> list[PartyKey]:
        return [party.identity.signing_key.party for party in self.parties]

    def changed(self, **changes: Any) -> None:
        """The drafter signs another order into the file."""
        order = TrainingOrder.decode(Signed.decode(self.file.read_bytes()).payload).model_copy(update=changes)
        self.file.write_bytes(sign(order, self.parties[0].identity.signing_key).encode())

    def agree(self) -> j.JointlySigned:
        return outcome(joint.agree(self.parties[1], self.file, self.file), j.JointlySigned)


@pytest.fixture
def owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Owners]:
    monkeypatch.setattr(ordering, "fetch_publication", lambda *_: PUBLICATION)
    monkeypatch.setattr(ordering, "fetch_sizes", lambda *_: [3])
    world = BrokerWorld(tmp_path)
    with operating(Operator(world, world.platform.collateral())) as operator:
        yield Owners(tmp_path, operator)


def test_no_secret_is_wrapped_to_a_broker_on_a_machine_that_the_drafters_policy_denies(owners: Owners) -> None:
    """Nor is a joint order submitted to it by the other owner, under that one's policy."""
    tcb = TcbTerms(denied_platforms=names_of(owners.world.platform)[:1])
    for party, dataset_id in zip(owners.parties, DATASETS, strict=True):
        policy = sign(POLICY.model_copy(update={"tcb": tcb}), party.identity.signing_key)
        party.keep_document("policies", dataset_id, policy)
    training, file = ordering.Training(DATASETS[0], BUNDLE, trainers=3), owners.file.with_name("denied.json")
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(joint.draft(owners.parties[0], training, [owners.partner], file))
    assert not file.exists()
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(ordering.submit(owners.parties[1], Signed.decode(owners.file.read_bytes())))


def test_the_owners_take_turns_with_the_slots() -> None:
    one, two = PartyKey("1" * 64), PartyKey("2" * 64)
    third = DatasetId.of(sha256(b"third"))
    shares = [(DATASETS[0], one), (DATASETS[1], two), (third, one)]
    assert ordering.deal_shards(shares, 5) == ((0, 2), (1,), (0, 2), (1,), (0, 2))
    assert ordering.deal_shards([(DATASETS[0], one), (third, one)], 5) == ()
    with pytest.raises(FormatError, match=r"format\.message"):
        ordering.deal_shards(shares, 1)


def test_each_sees_what_it_says_before_signing(owners: Owners) -> None:
    told = [event for event in owners.drafted if isinstance(event, j.JointOrder)]
    assert [(part.owner, part.datasets, part.slots, part.minimal_rounds) for part in told[0].parts] == [
        (owners.keys[0], (DATASETS[0],), (0, 2), 2),
        (owners.keys[1], (DATASETS[1],), (1,), 5),
    ]
    assert (told[0].bundle_id, told[0].provider, told[0].minimal_trainers) == (BUNDLE, PUBLICATION.provider, 1)
    last = owners.drafted[-1]
    assert isinstance(last, j.JointlySigned)
    assert (last.signers, last.missing) == ((owners.keys[0],), (owners.keys[1],))
    seen = list(joint.agree(owners.parties[1], owners.file, owners.file))
    assert seen[1] == told[0]
    assert owners.agree().missing == ()
    shown = io.StringIO()
    terminal = Terminal(Console(file=shown, width=300, highlight=False))
    for event in [*owners.drafted, *seen]:
        terminal.show(event)
    terminal.close()
    assert all(
        word in shown.getvalue() for word in (*owners.keys, *DATASETS, BUNDLE, "2 rounds", "5 rounds", "missing")
    )


def test_the_drafter_says_in_what_the_model_may_be_answered(owners: Owners) -> None:
    training = ordering.Training(DATASETS[0], BUNDLE, trainers=3, answers=AnswerTerms(lowest="bfloat16"))
    file = owners.file.with_name("finer.json")
    list(joint.draft(owners.parties[0], training, [owners.partner], file))
    seen = list(joint.agree(owners.parties[1], file, file))
    told = outcome(iter(one for one in seen if isinstance(one, OrderPreview)), OrderPreview)
    assert told.answers == AnswerTerms(lowest="bfloat16")
    taken = {parameter.name: parameter.type for parameter in draft_command.params}["answers_in"]
    assert isinstance(taken, click.Choice)
    assert "int8" not in taken.choices


def test_each_can_follow_the_job(owners: Owners) -> None:
    owners.agree()
    assert all(len(party.documents("orders")) == 1 for party in owners.parties)


def test_a_signed_order_is_never_overwritten(owners: Owners) -> None:
    training = ordering.Training(DATASETS[0], BUNDLE)
    with pytest.raises(ConflictError, match=r"conflict\.order_file"):
        list(joint.draft(owners.parties[0], training, [owners.partner], owners.file))


def test_another_text_than_the_drafter_signed_is_refused(owners: Owners) -> None:
    signed = Signed.decode(owners.file.read_bytes())
    other = TrainingOrder.decode(signed.payload).model_copy(update={"minimal_rounds": (1, 1)}).encode()
    owners.file.write_bytes(signed.model_copy(update={"payload": other}).encode())
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        owners.agree()


def foreign(owners: Owners) -> dict[str, tuple[dict[str, Any], type[Refusal], str]]:
    other = PartyKey("9" * 64)
    return {
        "owner": ({"owners": (owners.keys[0], other)}, PolicyError, "policy.signer"),
        "data": (
            {"datasets": (DATASETS[0], DatasetId.of(sha256(b"unknown")))}, NotFoundError, "not_found.dataset",
        ),
        "broker": ({"broker": other}, PolicyError, "policy.broker"),
        "release": ({"release": sha256(b"another")}, PolicyError, "policy.release"),
        "time": ({"not_after": 1}, FreshnessError, "freshness.order"),
        "shards": (
            {"datasets": (*DATASETS, DatasetId.of(sha256(b"more"))), "shards": ((0,), (1,), (2,))},
            PolicyError, "policy.shards",
        ),
        "place": ({"datasets": (DATASETS[1], DATASETS[0])}, PolicyError, "policy.shards"),
    }  # fmt: skip


@pytest.mark.parametrize("what", ["owner", "data", "broker", "release", "time", "shards", "place"])
def test_nobody_signs_what_is_not_for_him(owners: Owners, what: str) -> None:
    changes, refusal, code = foreign(owners)[what]
    owners.changed(**changes)
    before = owners.file.read_bytes()
    with pytest.raises(refusal, match=code.replace(".", r"\.")):
        owners.agree()
    assert owners.file.read_bytes() == before
    assert not owners.parties[1].documents("orders")


def test_an_order_goes_out_with_every_signature(
    owners: Owners, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[Signed] = []

    def submitted(_party: Party, signed: Signed) -> Iterator[Event]:
        sent.append(signed)
        yield from ()

    monkeypatch.setattr(ordering, "submit", submitted)
    with pytest.raises(PolicyError, match=r"policy\.signer"):
        list(joint.submit(owners.parties[0], [owners.file]))
    copy = tmp_path / "copy.json"
    list(joint.agree(owners.parties[1], owners.file, copy))
    list(joint.submit(owners.parties[0], [owners.file, copy]))
    assert {one.signer for one in sent[0].signatures} == set(owners.keys)
    owners.changed(minimal_rounds=(2, 1))
    with pytest.raises(ConflictError):
        list(joint.submit(owners.parties[0], [owners.file, copy]))


def test_a_grant_of_another_model_is_not_signed(owners: Owners, tmp_path: Path) -> None:
    second = owners.parties[1]
    world = owners.world
    job_id = world.start_job()
    manifest = world.finish(job_id)
    grant = world.grant(manifest, world.owner)
    file = tmp_path / "grant.json"
    file.write_bytes(grant.encode())
    with pytest.raises(NotFoundError, match=r"not_found\.model"):
        list(joint.agree_grant(second, file, file))
    model_id = "model_" + job_id.removeprefix("job_")
    second.keep_document("models", model_id, sign(POLICY, second.identity.signing_key))
    with pytest.raises(PolicyError, match=r"policy\.grant"):
        list(joint.agree_grant(second, file, file))
    second.keep_document("models", model_id, manifest)
    signed = outcome(joint.agree_grant(second, file, file), j.JointlySigned)
    assert set(signed.signers) == {world.owner.party, owners.keys[1]}


def test_an_argument_names_data_set_and_owner() -> None:
    text = f"{DATASETS[0]}:{'1' * 64}"
    assert PARTNER.convert(text, None, None) == joint.Partner(DATASETS[0], PartyKey("1" * 64))
    assert PARTNER.convert(f"{text}:12", None, None) == joint.Partner(DATASETS[0], PartyKey("1" * 64), 12)
    for wrong in (DATASETS[0], "x:y", f"{'1' * 64}:{DATASETS[0]}", f"{text}1", f"{text}:0", f"{text}:", f"{text}:1:1"):
        with pytest.raises(click.UsageError, match="DATASET:OWNER"):
            PARTNER.convert(wrong, None, None)
