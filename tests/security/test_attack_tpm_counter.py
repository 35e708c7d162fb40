"""Attacks on freshness where a TPM's counter is the only witness. The operator has root on its machine, and the TPM at
his fingertips: he sends it what he likes, keeps what it says, and carries to each broker what suits him.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.tpm.commands import Tpm
from common.errors import AuthenticityError, FormatError, FreshnessError, Refusal, UnavailableError
from common.messages.log_heads import Confirmed, LogHead
from common.messages.tpm_counter import ConfirmByCounter, CounterStep, MeetTpm, TpmChallenge
from common.tpm import layouts
from common.tpm.layouts import AttestationKey, EndorsementKey
from common.tpm.steps import step_purpose
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld, MemoryStore
from tests.fakes.handover_world import Heir
from tests.fakes.software_tpm import INDEX, Counted, SoftwareTpm


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


class Hand:
    """The operator between one broker and the TPM, step by step."""

    def __init__(self, world: BrokerWorld, tpm: Tpm) -> None:
        self.world, self.tpm = world, tpm
        areas = MeetTpm(endorsement_key=tpm.endorsement_key.area, attestation_key=tpm.attestation_key.area)
        challenge = world.channel().ask(areas, TpmChallenge)
        self.activation = tpm.activate(challenge.credential, challenge.secret)

    def step(self, head: LogHead | None = None) -> CounterStep:
        head = head or self.world.head
        value, proof = self.tpm.step(step_purpose(self.world.genesis.digest, head.size, head.root))
        return CounterStep(
            value=value, size=head.size, root=head.root, attested=proof.attested, signature=proof.signature
        )

    def say(self, *steps: CounterStep, activation: bytes | None = None) -> Confirmed:
        body = ConfirmByCounter(
            endorsement_key=self.tpm.endorsement_key.digest,
            attestation_key=self.tpm.attestation_key.area,
            activation=activation or self.activation,
            steps=steps,
        )
        return self.world.channel().ask(body, Confirmed)


@pytest.fixture
def tpm(counted: Counted) -> Iterator[Tpm]:
    opened = counted.software.open()
    yield opened
    opened.close()


def confirm_nothing(pinned: Tpm, signs: Tpm, activation: bytes = bytes(32)) -> ConfirmByCounter:
    return ConfirmByCounter(
        endorsement_key=pinned.endorsement_key.digest, attestation_key=signs.attestation_key.area,
        activation=activation, steps=(),
    )  # fmt: skip


def handle(number: int) -> bytes:
    return number.to_bytes(4, "big")


def password() -> bytes:
    return handle(0x40000009) + bytes(5)


def twin(world: BrokerWorld, store: MemoryStore) -> BrokerWorld:
    """A second broker of the same build, platform and state, alive beside the first."""
    other = BrokerWorld.__new__(BrokerWorld)
    other.__dict__ |= world.__dict__
    other.restart(store)
    return other


# -- an older state, and two brokers on one


def test_an_older_state_releases_nothing_and_the_refusal_says_so(counted: Counted) -> None:
    counted.carrier.round()
    older = counted.world.store.copy()
    counted.world.register_data()
    counted.carrier.round()
    counted.world.restart(older)
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.again().round()
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.world.register_data()
    for _ in range(5):
        counted.world.restart()  # a start is a decision; the log is as long as one likes
    for name in ("steps.json", "none.json"):
        with pytest.raises(FreshnessError, match="freshness.state"):
            counted.again(name).round()
        assert counted.world.describe().frozen


def test_the_very_first_state_is_an_older_one_too(counted: Counted) -> None:
    """Just born, it knows no data set, no grant that is over and no budget that is spent."""
    born = counted.world.store.copy()
    counted.carrier.round()
    counted.world.register_data()
    counted.carrier.round()
    counted.world.restart(born)
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.again("none.json").round()
    assert counted.world.describe().frozen


def test_a_counter_goes_along_at_a_handover_and_who_gave_is_left_behind(counted: Counted) -> None:
    """The heir accounts for the giver's steps, and as soon as it has two of its own the giver is refused for good."""
    world = counted.world
    later = Heir.of(world)
    with counted.attended():
        given = later.give()
    giver = world.store.copy()
    later.adopt(later.take(given))
    counted.again().round()
    assert world.register_data()
    counted.carrier.round()
    world.broker_measurement = MEASUREMENTS["broker"]
    world.restart(giver)
    for name in ("steps.json", "none.json"):
        with pytest.raises(FreshnessError, match=r"freshness\.state"):
            counted.again(name).round()
        assert world.describe().frozen
        with pytest.raises(Refusal):
            later.offer()


def test_two_brokers_in_turns_confirm_nothing(counted: Counted, tpm: Tpm) -> None:
    """Each is forgiven the value that the other had, so both go on for ever; neither gets two in a row."""
    second = twin(counted.world, counted.world.store.copy())
    counted.world.restart()
    hands = [Hand(counted.world, tpm), Hand(second, tpm)]
    for _ in range(4):
        for hand in hands:
            assert hand.say(hand.step()).frozen
    assert hands[0].say(hands[0].step()).frozen
    assert not hands[0].say(hands[0].step()).frozen  # one of them is let through
    with pytest.raises(FreshnessError, match="freshness.state"):
        hands[1].say(hands[1].step())
    with pytest.raises(FreshnessError, match="freshness.state"):
        second.register_data()


def test_one_step_cannot_be_shown_to_two_brokers(counted: Counted, tpm: Tpm) -> None:
    """What a certified count alone would allow: both saw the counter where they had expected it."""
    second = twin(counted.world, counted.world.store.copy())
    counted.world.restart()
    first, other = Hand(counted.world, tpm), Hand(second, tpm)
    steps = first.step(), first.step()
    assert not first.say(*steps).frozen
    with pytest.raises(FreshnessError, match="freshness.state"):
        other.say(*steps)
    head = second.head
    for renamed in (step.model_copy(update={"size": head.size, "root": head.root}) for step in steps):
        with pytest.raises(AuthenticityError, match="authenticity.tpm"):
            other.say(renamed)
    assert second.describe().frozen


def test_a_broker_that_another_has_overtaken_hands_out_nothing_more(counted: Counted, tpm: Tpm) -> None:
    first = Hand(counted.world, tpm)
    first.say(first.step(), first.step())
    job_id = counted.world.start_job()
    kept = first.step(), first.step()
    first.say(*kept)
    second = Hand(twin(counted.world, counted.world.store.copy()), tpm)
    assert second.say(*kept).frozen
    assert not second.say(second.step(), second.step()).frozen
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        counted.world.launch(TRAINER, job_id)
    with pytest.raises(FreshnessError, match="freshness.state"):
        first.say(first.step(), first.step())
    with pytest.raises(Refusal, match="unavailable.frozen|freshness.state"):
        counted.world.launch(TRAINER, job_id)


def test_a_budget_is_not_regained_by_rewinding(counted: Counted) -> None:
    world = counted.world
    with counted.attended():
        job_id = world.start_job()
        model = world.finish(job_id)
        enclave, grant = world.launch(QUERY, job_id), world.grant(model, answers=100)
    witnessed = world.store.copy()
    with counted.attended():
        assert world.draw(enclave, grant, 64).answers == 64
    world.restart(witnessed)
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.again().round()
    with pytest.raises(FreshnessError, match="freshness.state"):
        world.draw(enclave, grant, 64)


# -- proofs that are not this TPM's, or not of such a step


def test_steps_of_an_earlier_boot_thaw_nothing(counted: Counted, tpm: Tpm) -> None:
    first = Hand(counted.world, tpm)
    steps = first.step(), first.step()
    first.say(*steps)
    counted.world.restart()
    again = Hand(counted.world, tpm)
    assert again.say(*steps).frozen
    assert again.say(*steps, *steps).frozen
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        again.say(*steps, activation=first.activation)


def test_a_tpm_that_is_not_pinned_is_not_heard(counted: Counted) -> None:
    foreign = SoftwareTpm()
    try:
        tpm = foreign.open()
        with pytest.raises(AuthenticityError, match="authenticity.tpm"):
            Hand(counted.world, tpm)
        body = confirm_nothing(tpm, tpm)
        with pytest.raises(AuthenticityError, match="authenticity.tpm"):
            counted.world.channel().ask(body, Confirmed)
        tpm.close()
    finally:
        foreign.close()


def test_a_key_outside_the_pinned_tpm_is_never_activated(counted: Counted, tpm: Tpm) -> None:
    """Its own counter would prove anything. The credential names the key; the pinned TPM does not hold it."""
    foreign = SoftwareTpm()
    try:
        other = foreign.open()
        areas = MeetTpm(endorsement_key=tpm.endorsement_key.area, attestation_key=other.attestation_key.area)
        challenge = counted.world.channel().ask(areas, TpmChallenge)
        for asked in (tpm, other):
            with pytest.raises(UnavailableError, match="unavailable.tpm"):
                asked.activate(challenge.credential, challenge.secret)
        with pytest.raises(FreshnessError, match="freshness.challenge"):
            counted.world.channel().ask(confirm_nothing(tpm, other), Confirmed)
        other.close()
    finally:
        foreign.close()


def test_a_stranger_who_meets_in_the_tpms_name_changes_nothing(counted: Counted, tpm: Tpm) -> None:
    hand = Hand(counted.world, tpm)
    area = AttestationKey(bytes(32), bytes(32)).area
    for key in (tpm.attestation_key.area, area):
        counted.world.channel().ask(
            MeetTpm(endorsement_key=tpm.endorsement_key.area, attestation_key=key), TpmChallenge
        )
    assert not hand.say(hand.step(), hand.step()).frozen


def test_a_key_of_another_kind_is_no_attestation_key(counted: Counted, tpm: Tpm) -> None:
    """One that is not restricted signs anything; one that is not fixed lives elsewhere too."""
    endorsement, area = tpm.endorsement_key.area, tpm.attestation_key.area
    for bit in range(32):
        attributes = int.from_bytes(area[4:8], "big") ^ 1 << bit
        changed = area[:4] + attributes.to_bytes(4, "big") + area[8:]
        with pytest.raises(FormatError, match="format.message"):
            counted.world.channel().ask(MeetTpm(endorsement_key=endorsement, attestation_key=changed), TpmChallenge)
    for changed in (b"", area[:-1], area + b"\0", endorsement):
        with pytest.raises(FormatError, match="format.message"):
            counted.world.channel().ask(MeetTpm(endorsement_key=endorsement, attestation_key=changed), TpmChallenge)


def test_no_bit_of_a_proof_can_be_changed(counted: Counted, tpm: Tpm) -> None:
    hand = Hand(counted.world, tpm)
    step = hand.step()
    for name in ("attested", "signature"):
        raw = getattr(step, name)
        spoilt = [raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :] for at in range(len(raw))]
        for changed in (*spoilt, b"", raw[:-1], raw + b"\0"):
            with pytest.raises(AuthenticityError, match="authenticity.tpm"):
                hand.say(step.model_copy(update={name: changed}))
    for changed in ({"value": step.value + 1}, {"size": step.size - 1}, {"root": counted.world.genesis.digest}):
        with pytest.raises(AuthenticityError, match="authenticity.tpm"):
            hand.say(step.model_copy(update=changed))
    assert hand.say(step, hand.step()).frozen is False


def test_another_index_or_kind_of_counter_proves_nothing(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that its owner may also write, or that another user of the TPM made beside it, has another Name."""
    beside = counted.software.open(INDEX + 1)
    beside.define_counter()
    hand = Hand(counted.world, beside)
    with pytest.raises(AuthenticityError, match="authenticity.tpm"):
        hand.say(hand.step())
    beside.run(0x122, handle(0x40000001) + handle(INDEX), b"", password())
    beside.close()
    monkeypatch.setattr(layouts, "COUNTER_ATTRIBUTES", layouts.COUNTER_ATTRIBUTES | 1 << 1)  # TPMA_NV_OWNERWRITE
    made = counted.software.open()
    made.define_counter()
    monkeypatch.undo()
    hand = Hand(counted.world, made)
    with pytest.raises(AuthenticityError, match="authenticity.tpm"):
        hand.say(hand.step())
    made.close()


@pytest.mark.parametrize("whole", [False, True], ids=["undefined", "cleared"])
def test_a_counter_that_is_made_anew_does_not_begin_anew(counted: Counted, whole: bool) -> None:
    """Deleted by its owner, or with everything else in the TPM (TPM2_Clear): the next one begins above it."""
    counted.carrier.round()
    older = counted.world.store.copy()
    counted.world.register_data()
    counted.carrier.round()
    counted.carrier.close()
    tpm = counted.software.open()
    before = tpm.counter() or 0
    if whole:
        tpm.run(0x126, handle(0x4000000A), b"", password())
    else:
        tpm.run(0x122, handle(0x40000001) + handle(INDEX), b"", password())
    assert tpm.counter() is None
    tpm.close()
    tpm = counted.software.open()
    tpm.define_counter()
    assert tpm.counter() == before + 1
    tpm.close()
    counted.world.restart(older)
    with pytest.raises(FreshnessError, match="freshness.state"):
        counted.again("none.json").round()
    assert counted.world.describe().frozen


def test_a_step_for_another_broker_is_none_for_this_one(counted: Counted, tpm: Tpm) -> None:
    """Of two that share a counter each takes the other's step for a foreign one, also for a head of its own log."""
    other = twin(counted.world, MemoryStore())
    assert other.genesis.digest != counted.world.genesis.digest
    theirs, ours = Hand(other, tpm), Hand(counted.world, tpm)
    for head in (other.head, counted.world.head):
        with pytest.raises(AuthenticityError, match="authenticity.tpm"):
            ours.say(theirs.step(head))


def test_a_broker_that_expects_a_later_count_waits_for_it(counted: Counted, tpm: Tpm) -> None:
    """The host names the value at the broker's birth. Naming a later one gives it nothing but steps to make."""
    late = counted.pinned.model_copy(update={"value": counted.pinned.value + 4})
    counted.world.rule = WitnessRule((), 1, (late,))
    counted.world.restart(MemoryStore())
    hand = Hand(counted.world, tpm)
    for _ in range(5):
        assert hand.say(hand.step()).frozen
    assert not hand.say(hand.step()).frozen


# -- the limit


def test_a_software_tpm_can_be_set_back_with_its_directory(counted: Counted) -> None:
    """Why owners look at the vendor's certificate of the endorsement key that a genesis pins (docs/witnesses.md)."""
    counted.carrier.round()
    counted.carrier.close()
    older, kept = counted.world.store.copy(), counted.software.copy()
    (counted.directory / "kept.json").write_bytes((counted.directory / "steps.json").read_bytes())
    counted.again().round()
    counted.world.register_data()
    counted.carrier.round()
    counted.carrier.close()
    counted.software.put_back(kept)
    counted.world.restart(older)
    counted.again("kept.json").round()
    assert not counted.world.describe().frozen, "nothing in the protocol notices it"


def test_parsing_knows_two_templates() -> None:
    for kind in (EndorsementKey, AttestationKey):
        area = kind(bytes(32), bytes(32)).area
        assert kind.parse(area).area == area
        for cut in range(len(area)):
            with pytest.raises(FormatError):
                kind.parse(area[:cut])
