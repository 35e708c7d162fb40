"""Promise: why a request was refused is told to whose terms refused it; no other tenant and no host learns it, and
neither can make anybody lose it unseen, or the key broker grow.
"""

from pathlib import Path
from typing import Any

import pytest

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, PolicyError, Refusal
from common.key_binding import reasons_info
from common.messages.objects import DatasetManifest
from common.messages.reasons import REASON_BYTES, REASONS_KEPT, ReadReasons, ReasonsReply
from common.messages.refusal_detail import Refused
from common.messages.registration import Registered
from common.messages.signed import sign
from services.attestation import refusal_log
from services.attestation.records import ReasonRecord
from tests.fakes.broker_world import TRAINER, BrokerWorld, Party, SealedData
from tests.fakes.reading_reasons import reasons_of, reasons_request, told
from tests.unit.services.attestation.test_reasons import OTHER_CODE, tighten


class Refusing:
    """A job of two owners whose second one names code that nobody runs, and another tenant."""

    def __init__(self, directory: Path) -> None:
        self.world, self.second, self.stranger = BrokerWorld(directory), Party(), Party()
        world = self.world
        self.data = [world.register_data(), world.register_data(self.second)]
        self.others = world.register_data(self.stranger)
        order = sign(world.order(self.data, world.register_bundle()), world.owner.key, self.second.key)
        self.job_id = world.accept(order).job_id
        tighten(world, self.data[1], measurements=(OTHER_CODE,))
        self.refuse()

    def refuse(self, slot: int = 0) -> None:
        with pytest.raises(PolicyError, match="policy.measurement"):
            self.world.launch(TRAINER, self.job_id, slot)


@pytest.fixture
def scene(tmp_path: Path) -> Refusing:
    return Refusing(tmp_path)


def test_each_party_reads_its_own(scene: Refusing) -> None:
    assert [expected for _, expected, _ in told(scene.world, scene.second)] == [f"one of ['{OTHER_CODE}']"]
    for party in (scene.world.owner, scene.world.provider):
        assert told(scene.world, party) == [("policy.measurement", None, None)]
    assert told(scene.world, scene.stranger) == []


def test_nobody_asks_for_another(scene: Refusing) -> None:
    """Not by his name, not with its request, and not by having the answer sealed to himself."""
    world, thief = scene.world, scene.stranger
    named = reasons_request(world, thief, party=scene.second.party)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.channel().ask(ReadReasons(request=named), ReasonsReply)
    request = reasons_request(world, scene.second)
    sealed = world.channel().ask(ReadReasons(request=request), ReasonsReply).sealed
    for party in (scene.second.party, thief.party):
        with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
            thief.identity.report_key.open(sealed, reasons_info(request.digest, party))
    swapped = request.model_copy(
        update={"payload": request.payload.replace(scene.second.party.encode(), thief.party.encode())}
    )
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.channel().ask(ReadReasons(request=swapped), ReasonsReply)
    with pytest.raises(PolicyError, match="policy.broker"):
        reasons_of(world, scene.second, broker=thief.party)


def test_the_host_sees_who_may_be_told_and_not_who_was(tmp_path: Path) -> None:
    """What it stores and what it carries have one size, whichever party's terms refuse and whatever they say."""

    def seen(name: str, **changes: Any) -> tuple[list[int], list[int]]:
        world, second = BrokerWorld(tmp_path / name), Party()
        data = [world.register_data(), world.register_data(second)]
        order = sign(world.order(data, world.register_bundle()), world.owner.key, second.key)
        job_id = world.accept(order).job_id
        owner = changes.pop("of")
        for one in data:
            tighten(world, one, **(changes if one is data[owner] else {"measurements": ()}))
        answers: list[bytes] = []

        def ask(raw: bytes) -> bytes:
            answers.append(world.handle(raw))
            return answers[-1]

        before = len(world.store.blobs)
        with pytest.raises(PolicyError, match="policy.measurement"):
            world.launch(TRAINER, job_id, ask=ask)
        return [len(blob) for blob in world.store.blobs[before:]], [len(one) for one in answers]

    one, other = seen("one", of=0, measurements=(OTHER_CODE,)), seen("other", of=1, measurements=(OTHER_CODE,) * 9)
    assert one == other


def test_what_is_refused_says_nothing_in_the_clear(scene: Refusing) -> None:
    world = scene.world
    assert not any(OTHER_CODE.encode() in stored for stored in (*world.store.blobs, *world.store.entries))
    answer = world.reply(ReadReasons(request=reasons_request(world, scene.second, party=scene.stranger.party))).body
    assert isinstance(answer, Refused)
    assert (answer.detail, answer.shown) == (None, None)


def test_a_tampered_answer_or_state_is_none(scene: Refusing) -> None:
    world = scene.world
    request = reasons_request(world, scene.second)
    sealed = bytearray(world.channel().ask(ReadReasons(request=request), ReasonsReply).sealed)
    sealed[-1] ^= 1
    with pytest.raises(AuthenticityError):
        scene.second.identity.report_key.open(bytes(sealed), reasons_info(request.digest, scene.second.party))
    changed = world.store.copy()
    changed.blobs[-1] = changed.blobs[-1][:-1] + bytes([changed.blobs[-1][-1] ^ 1])
    with pytest.raises(AuthenticityError, match="authenticity.sealed_state"):
        world.restart(changed)


def test_a_flood_neither_evicts_uncounted_nor_grows(scene: Refusing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host makes refusals without end, restarts included: what was there is dropped by count, and nobody else's."""
    world = scene.world
    monkeypatch.setattr(refusal_log, "REFUSALS_KEPT", 2)
    other = sign(world.order(scene.others, world.register_bundle(), trainers=9), scene.stranger.key)
    with pytest.raises(Refusal):
        world.accept(other, scene.stranger)
    epochs, each = REASONS_KEPT, 4
    for _ in range(epochs):
        for attempt in range(each):
            scene.refuse(attempt % 2)
        world.restart()
    read = reasons_of(world, scene.second)
    assert len(read.reasons) == REASONS_KEPT
    assert read.dropped == 2 * epochs - REASONS_KEPT
    assert read.dropped + len(read.reasons) + read.unkept <= 1 + each * epochs
    assert len(told(world, scene.stranger)) == 1
    records = list(world.context.state.all(ReasonRecord))
    assert len(records) == 3 * REASONS_KEPT + 1
    assert {len(one.reason) for one in records} == {REASON_BYTES}


def test_what_replays_add_is_counted(scene: Refusing) -> None:
    before = len(scene.world.context.state._enclosed)
    for _ in range(50):
        scene.refuse()
    assert reasons_of(scene.world, scene.second).unkept == 50
    assert len(scene.world.context.state._enclosed) <= before + 3 + 1, "a number for each reader, and the log's own"


def test_another_tenants_documents_write_nothing_for_a_party(scene: Refusing) -> None:
    """A policy that names somebody else as its owner is refused, and its details are kept for nobody."""
    world, tenant = scene.world, scene.stranger
    before = told(world, scene.second)
    for _ in range(3):
        policy = sign(world.policy_terms(scene.second), tenant.key)
        parts = DatasetManifest.decode(world.seal_data(tenant).manifest.payload).parts
        manifest = sign(DatasetManifest(owner=tenant.party, parts=parts, policy=policy.digest), tenant.key)
        data = SealedData(tenant, SecretKey.generate(), manifest, policy)
        with pytest.raises(PolicyError, match="policy.signer"):
            world.channel(tenant).ask(world.dataset_registration(data), Registered)
    assert told(world, scene.second) == before
    assert reasons_of(world, scene.second).unkept == 0


def test_a_strangers_refusals_are_nobodys(scene: Refusing) -> None:
    """What the log can't attribute leaves no record but one number by code, however many keys it comes under."""
    world = scene.world
    before = len(world.context.state.records), len(world.context.state._enclosed)
    for _ in range(20):
        data = world.seal_data(Party(), unsafe_simulation=False)
        with pytest.raises(PolicyError, match="policy.trust_level"):
            world.channel(data.owner).ask(world.dataset_registration(data), Registered)
    records, enclosed = before
    assert len(world.context.state.records) == records
    assert len(world.context.state._enclosed) <= enclosed + 1
