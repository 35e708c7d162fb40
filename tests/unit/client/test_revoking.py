"""A revocation is found in the broker's log under the head of the reply, or the host is caught."""

from collections.abc import Callable
from pathlib import Path

import pytest

from client import audit
from client.broker import BrokerLink
from client.context import Party
from client.ending_proof import EndingProof, verify_ending
from client.events import Ended
from client.revoking import Ending, end, logged_entry
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FormatError, Refusal, UnavailableError
from common.messages.broker_exchange import BrokerReply
from common.messages.decision_log import InclusionProof, LogItem, LogPage
from common.messages.signed import sign
from services.attestation.log_store import LogStore
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.log_keeping import identity_directory
from tests.fakes.served_log import LogFiles


class Host:
    """The log of the world's broker, for its owner; `change` is what a dishonest host does to a page."""

    def __init__(self, world: BrokerWorld, change: Callable[[LogPage], LogPage] = lambda page: page) -> None:
        self._store, self._reader, self._change = LogStore(LogFiles(world)), world.owner.party, change

    def get(self, path: str) -> bytes:
        route, _, query = path.partition("?")
        asked = {name: int(value) for name, value in (pair.split("=") for pair in query.split("&"))}
        if route == "/v1/log/entries":
            return self._change(self._store.page(asked["first"], self._reader)).encode()
        return self._store.inclusion(asked["number"], asked["size"]).encode()


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    world = BrokerWorld(tmp_path / "world")
    world.register_data()
    return world


@pytest.fixture
def party(world: BrokerWorld, tmp_path: Path) -> Party:
    return identity_directory(world, world.owner, tmp_path / "owner")


def ended(world: BrokerWorld, party: Party) -> Ending:
    """The owner deletes a data set, and others go on."""
    data = world.register_data()
    ending = end(party, BrokerLink(party, world.handle), "dataset", data.dataset_id)
    world.register_bundle()
    return ending


def test_the_entry_is_found_and_proven(world: BrokerWorld, party: Party) -> None:
    ending = ended(world, party)
    item, proof = logged_entry(Host(world), ending.document, 0, ending.head)
    assert proof.number == ending.head.size - 1
    assert logged_entry(Host(world), ending.document, proof.number, ending.head) == (item, proof)


def test_a_revocation_whose_answer_was_lost_is_repeated_and_proven_by_the_first_ones_entry(
    world: BrokerWorld, party: Party
) -> None:
    data, size = world.register_data(), world.head.size

    def lost(raw: bytes) -> bytes:
        world.handle(raw)
        raise UnavailableError("unavailable.service")

    with pytest.raises(UnavailableError):
        end(party, BrokerLink(party, lost), "dataset", data.dataset_id)
    world.register_bundle()
    for _ in range(2):
        again = end(party, BrokerLink(party, world.handle), "dataset", data.dataset_id)
        assert logged_entry(Host(world), again.document, again.first, again.head)[1].number == size


def without_entries(page: LogPage) -> LogPage:
    return page.model_copy(update={"items": tuple(LogItem(leaf=one.leaf) for one in page.items)})


def with_another_leaf(page: LogPage) -> LogPage:
    leaves = [one.leaf for one in (*page.items[1:], page.items[0])]
    moved = (LogItem(leaf=leaf, entry=one.entry) for leaf, one in zip(leaves, page.items, strict=True))
    return page.model_copy(update={"items": tuple(moved)})


def shifted(page: LogPage) -> LogPage:
    return page.model_copy(update={"first": page.first + 1})


def empty(page: LogPage) -> LogPage:
    return page.model_copy(update={"items": ()})


@pytest.mark.parametrize("change", [without_entries, with_another_leaf, shifted, empty])
def test_a_host_that_hides_or_changes_it_is_caught(
    world: BrokerWorld, party: Party, change: Callable[[LogPage], LogPage]
) -> None:
    ending = ended(world, party)
    with pytest.raises(AuthenticityError, match=r"authenticity\.log"):
        logged_entry(Host(world, change), ending.document, 0, ending.head)


def test_the_entry_of_another_log_is_not_in_this_one(world: BrokerWorld, party: Party) -> None:
    """A host that rewinds its broker after the reply shows a log that goes on otherwise."""
    older = world.store.copy()
    ending = ended(world, party)
    world.restart(older)
    world.register_data()
    with pytest.raises(AuthenticityError, match=r"authenticity\.log"):
        logged_entry(Host(world), ending.document, 0, ending.head)


def test_a_proof_of_another_leaf_is_none(world: BrokerWorld, party: Party) -> None:
    ending = ended(world, party)

    class Forging(Host):
        def get(self, path: str) -> bytes:
            body = super().get(path)
            if path.startswith("/v1/log/inclusion"):
                proof = InclusionProof.decode(body)
                return proof.model_copy(update={"path": (bytes(32), *proof.path[1:])}).encode()
            return body

    with pytest.raises(AuthenticityError, match=r"authenticity\.log"):
        logged_entry(Forging(world), ending.document, 0, ending.head)


# -- what is kept of it --------------------------------------------------------------------------------------------


def proven(world: BrokerWorld, party: Party) -> tuple[Ending, EndingProof]:
    ending = ended(world, party)
    return ending, ending.proof(Host(world))


def test_what_was_ended_can_be_shown_later_without_the_broker(world: BrokerWorld, party: Party) -> None:
    ending, proof = proven(world, party)
    kept = party.keep_proof("data", proof)
    world.restart()
    (told,) = audit.verify(Party(party.directory), kept)
    assert isinstance(told, Ended)
    assert (told.state, told.leases_end, told.log_entry) == ("revoked", ending.leases_end, proof.inclusion.number)
    assert told.identifier.startswith("data_")
    assert kept.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FormatError, match=r"format\.message"):
        list(audit.verify(party, kept, [kept]))


def test_it_is_kept_by_whoever_ends_something(
    world: BrokerWorld, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = ended(world, party)
    monkeypatch.setattr("client.revoking.ServiceClient", lambda *_: Host(world))
    last = ending.proven("data", "deleted")
    assert last.proof == str(party.directory / "proofs" / "data.json")
    (told,) = audit.verify(party, Path(last.proof))
    assert isinstance(told, Ended)
    assert told.log_entry == last.log_entry


def of_another_document(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    return proof.model_copy(update={"document": proven(world, party)[1].document})


def of_another_reply(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    return proof.model_copy(update={"reply": proven(world, party)[1].reply})


def of_another_entry(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    other = proven(world, party)[1]
    return proof.model_copy(update={"item": other.item, "inclusion": other.inclusion})


def of_another_broker(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    return proof.model_copy(update={"reply": sign(BrokerReply.decode(proof.reply.payload), SigningKey.generate())})


def with_later_leases(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    payload = proof.reply.payload.replace(b'"leases_end":1', b'"leases_end":2')
    assert payload != proof.reply.payload
    return proof.model_copy(update={"reply": proof.reply.model_copy(update={"payload": payload})})


def with_an_entry_untold(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    return proof.model_copy(update={"item": LogItem(leaf=proof.item.leaf)})


def in_another_place(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    return proof.model_copy(update={"inclusion": proof.inclusion.model_copy(update={"number": 1})})


def on_another_path(world: BrokerWorld, party: Party, proof: EndingProof) -> EndingProof:
    path = (bytes(32), *proof.inclusion.path[1:])
    return proof.model_copy(update={"inclusion": proof.inclusion.model_copy(update={"path": path})})


@pytest.mark.parametrize(
    "forge",
    [
        of_another_document, of_another_reply, of_another_entry, of_another_broker, with_later_leases,
        with_an_entry_untold, in_another_place, on_another_path,
    ],
)  # fmt: skip
def test_a_proof_that_was_changed_proves_nothing(
    world: BrokerWorld, party: Party, forge: Callable[[BrokerWorld, Party, EndingProof], EndingProof]
) -> None:
    proof, broker = proven(world, party)[1], world.genesis.signing_public
    assert verify_ending(proof, broker)
    with pytest.raises(Refusal, match=r"authenticity\."):
        verify_ending(forge(world, party, proof), broker)
