"""Promise: whoever audits the decision log notices a host that drops, reorders, forges, rewinds or forks it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client.audit import verify
from client.events import LogVerified, outcome
from client.witness_memory import WitnessMemory
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FormatError, FreshnessError, Refusal
from common.identifiers import PartyKey
from common.messages.decision_log import AuditBundle, LogEntry, LogItem, TreeHead
from common.messages.signed import open_signed, sign
from common.transparency import log_leaf, log_tag
from tests.fakes.broker_world import TRAINER, BrokerWorld, MemoryStore
from tests.fakes.log_keeping import Keeper, bundle_for, identity_directory


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """A broker with a short history: two owners' data sets, a job, a launch, a start."""
    world = BrokerWorld(tmp_path / "world")
    world.register_data()
    job_id = world.start_job()
    world.launch(TRAINER, job_id)
    world.restart()
    world.register_bundle()
    return world


@pytest.fixture
def keeper(world: BrokerWorld, tmp_path: Path) -> Keeper:
    return Keeper(world, identity_directory(world, world.owner, tmp_path / "owner"))


def audited(keeper: Keeper, bundle: AuditBundle | None = None, *seen: Path) -> LogVerified:
    return outcome(verify(keeper.party, keeper.keep("log", bundle), seen), LogVerified)


def test_an_honest_log_is_verified_and_others_entries_stay_theirs(keeper: Keeper) -> None:
    event = audited(keeper)
    assert event.head == keeper.world.head
    assert (event.told, event.untold) == (event.head.size - 2, 2)  # the provider's two bundles
    assert audited(keeper).held_against == (event.head.size,)


def changed(change: Callable[[list[LogItem]], list[LogItem]]) -> Callable[[AuditBundle], AuditBundle]:
    return lambda bundle: bundle.model_copy(update={"items": tuple(change(list(bundle.items)))})


def forged(item: LogItem, **changes: object) -> LogItem:
    """The entry says something else, and its leaf is made to fit."""
    assert item.entry is not None
    entry = json.dumps(json.loads(item.entry) | changes).encode()
    return LogItem(leaf=log_leaf(entry), entry=entry)


def swapped(items: list[LogItem]) -> list[LogItem]:
    return [*items[:3], items[4], items[3], *items[5:]]


TAMPERED: dict[str, Callable[[AuditBundle], AuditBundle]] = {
    "drops the last": changed(lambda items: items[:-1]),
    "drops one inside": changed(lambda items: [*items[:4], *items[5:]]),
    "drops all": changed(lambda _: []),
    "adds one": changed(lambda items: [*items, items[-1]]),
    "repeats one": changed(lambda items: [*items[:4], items[4], items[4], *items[6:]]),
    "reorders": changed(swapped),
    "forges a leaf": changed(lambda items: [*items[:5], LogItem(leaf=b"leaf"), *items[6:]]),
    "forges an entry and its leaf": changed(lambda items: [*items[:2], forged(items[2], time=1), *items[3:]]),
    "forges an entry behind its leaf": changed(
        lambda items: [*items[:2], LogItem(leaf=items[2].leaf, entry=forged(items[2], time=1).entry), *items[3:]]
    ),
    "tells another entry": changed(
        lambda items: [*items[:2], LogItem(leaf=items[2].leaf, entry=items[1].entry), *items[3:]]
    ),
    "tells noise": changed(lambda items: [*items[:2], LogItem(leaf=items[2].leaf, entry=b"noise"), *items[3:]]),
    "keeps back an entry of this party": changed(lambda items: [*items[:2], LogItem(leaf=items[2].leaf), *items[3:]]),
    "keeps back a start": changed(lambda items: [items[0], LogItem(leaf=items[1].leaf), *items[2:]]),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_host_that(keeper: Keeper, how: str) -> None:
    honest = bundle_for(keeper.world, keeper.world.owner.party)
    with pytest.raises(AuthenticityError, match="authenticity.log"):
        audited(keeper, TAMPERED[how](honest))
    assert keeper.party.audited_head is None
    audited(keeper, honest)


def test_a_head_is_signed_by_the_pinned_broker_alone(keeper: Keeper, tmp_path: Path) -> None:
    honest, thief = bundle_for(keeper.world, keeper.world.owner.party), SigningKey.generate()
    head = open_signed(honest.head, TreeHead, [keeper.world.genesis.signing_public])
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        audited(keeper, honest.model_copy(update={"head": sign(head, thief)}))
    other = BrokerWorld(tmp_path / "other")
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        audited(keeper, bundle_for(other, None))
    flipped = honest.head.payload.replace(b'"refusals_counted":0', b'"refusals_counted":1')
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        audited(keeper, honest.model_copy(update={"head": honest.head.model_copy(update={"payload": flipped})}))
    with pytest.raises(FormatError):
        audited(keeper, honest.model_copy(update={"head": keeper.world.release}))


def test_an_older_head_of_the_same_log_is_a_rewound_log(keeper: Keeper) -> None:
    before = bundle_for(keeper.world, keeper.world.owner.party)
    keeper.world.register_data()
    audited(keeper)
    with pytest.raises(FreshnessError, match="freshness.state"):
        audited(keeper, before)


def rewound(world: BrokerWorld, blobs: int, decisions: int, starts: int = 0) -> None:
    """The broker restarted from a shorter chain, and grown again; its host gives the log that fits."""
    entries = world.head.size - (len(world.store.blobs) - blobs)
    world.restart(MemoryStore(world.store.blobs[:blobs], world.store.entries[:entries]))
    for _ in range(starts):
        world.restart()
    for _ in range(decisions):
        world.register_data()


@pytest.mark.parametrize(("decisions", "starts"), [(0, 0), (2, 0), (3, 0), (9, 0), (9, 9)])
def test_a_fork_is_caught_however_long_it_grew(keeper: Keeper, decisions: int, starts: int) -> None:
    world = keeper.world
    for _ in range(3):
        world.register_data()
    audited(keeper)
    rewound(world, len(world.store.blobs) - 2, decisions, starts)
    honest_leaves_of_the_fork = bundle_for(world, world.owner.party)
    with pytest.raises(FreshnessError, match="freshness.state"):
        audited(keeper, honest_leaves_of_the_fork)


def test_two_auditors_who_were_shown_two_forks_find_out_when_they_compare(keeper: Keeper, tmp_path: Path) -> None:
    world = keeper.world
    provider = Keeper(world, identity_directory(world, world.provider, tmp_path / "provider"))
    common = world.store.copy()
    world.register_data()
    theirs = provider.keep("log")
    outcome(verify(provider.party, theirs), LogVerified)
    world.restart(common)
    world.register_data()
    mine = bundle_for(world, world.owner.party)
    audited(keeper, mine)
    with pytest.raises(FreshnessError, match="freshness.state"):
        audited(keeper, mine, theirs)


def test_it_is_held_against_what_a_witness_remembers(keeper: Keeper) -> None:
    world, memory = keeper.world, keeper.party.directory / "witness.json"
    world.register_data()
    memory.write_bytes(WitnessMemory(broker=world.genesis.digest, head=world.head).encode())
    size = world.head.size
    world.register_data()
    assert audited(keeper, None, memory).held_against == (size,)
    fork = world.head.model_copy(update={"size": size - 1, "root": world.genesis.digest})
    memory.write_bytes(WitnessMemory(broker=world.genesis.digest, head=fork).encode())
    with pytest.raises(FreshnessError, match="freshness.state"):
        audited(keeper, None, memory)
    memory.write_bytes(WitnessMemory(broker=world.release.digest, head=fork).encode())
    with pytest.raises(AuthenticityError, match="authenticity.log"):
        audited(keeper, None, memory)
    memory.write_bytes(b"noise")
    with pytest.raises(FormatError):
        audited(keeper, None, memory)


def test_a_head_that_any_command_saw_binds_the_auditor_too(keeper: Keeper) -> None:
    world = keeper.world
    fork = world.store.copy()
    world.register_data()
    keeper.party.remember_head(world.head)
    world.restart(fork)
    world.register_data()
    with pytest.raises(FreshnessError, match="freshness.state"):
        audited(keeper)


def test_a_leaf_says_nothing_to_who_knows_no_key_of_its_parties(world: BrokerWorld) -> None:
    """No identifier, key, digest or code of an entry stands in its leaf; equal parties give other tags each time."""
    told, tags = [LogEntry.decode(raw) for raw in world.store.entries], list[bytes]()
    for entry, item in zip(told, bundle_for(world, None).items, strict=True):
        assert (item.entry is None) == bool(entry.subjects.parties)
        for party in entry.subjects.parties:
            assert party.raw() not in item.leaf
            tags.append(log_tag(entry.number, party))
    assert len(set(tags)) == len(tags)


def test_entries_are_told_to_whom_they_concern(world: BrokerWorld) -> None:
    def told(reader: PartyKey) -> set[str]:
        items = bundle_for(world, reader).items
        return {LogEntry.decode(one.entry).decision for one in items if one.entry is not None}

    assert told(world.user.party) == {"genesis", "start"}
    assert told(world.provider.party) == {"genesis", "start", "register-bundle", "accept-order", "admit-launch"}
    assert "register-dataset" in told(world.owner.party)
    assert "register-bundle" not in told(world.owner.party)


@pytest.mark.parametrize("at", range(0, 4000, 211))
def test_no_flipped_byte_of_a_kept_log_is_believed(keeper: Keeper, at: int) -> None:
    path = keeper.keep("log")
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1
    path.write_bytes(bytes(raw))
    before = keeper.party.audited_head
    try:
        event = outcome(verify(keeper.party, path), LogVerified)
    except Refusal:
        assert keeper.party.audited_head == before
    else:  # a bit that base64 or JSON does not care for
        assert event.head == keeper.world.head
