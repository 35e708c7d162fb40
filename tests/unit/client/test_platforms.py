"""Which machines a party accepts: what it pins, what its policies say, what it was shown or given."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from client import events as e
from client import inventory, ordering, owner, pinning, provider, user
from client.broker import BrokerLink
from client.cli import main
from client.context import Party
from client.ordering import Training
from client.platforms import platform_rules, terms_over
from client.policy_terms import ProviderTerms
from client.query_session import QuerySession, QueryUser
from client.services import AttestationService
from common.dcap import PlatformRules
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError
from common.messages.evidence import DcapQuote, Evidence
from common.messages.platform_inventory import NO_INVENTORY, InventoryTaken, TakeInventory
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbStatus, TcbTerms
from services.attestation.context import BrokerContext
from tests.fakes.broker_world import QUERY, BrokerWorld
from tests.fakes.log_keeping import identity_directory
from tests.fakes.machines import inventory_of, names_of
from tests.fakes.operator import Operator, operating
from tests.vectors.sample_documents import OBJECT, PUBLICATION


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path / "world", release_signers=2)


@pytest.fixture
def operator(world: BrokerWorld) -> Iterator[Operator]:
    with operating(Operator(world, world.platform.collateral())) as serving:
        yield serving


@pytest.fixture
def party(world: BrokerWorld, operator: Operator, tmp_path: Path) -> Party:
    return identity_directory(world, world.owner, tmp_path / "owner", operator.endpoints)


def denied(world: BrokerWorld) -> TcbTerms:
    return TcbTerms(denied_platforms=names_of(world.platform)[:1])


def written(tmp_path: Path, document: Signed) -> Path:
    file = tmp_path / f"{document.digest[:8]}.json"
    file.write_bytes(document.encode())
    return file


def test_without_pins_and_inventory_the_release_s_terms_are_all(party: Party) -> None:
    assert platform_rules(party, party.trust.trust_settings) == PlatformRules(NO_INVENTORY, ())
    party.keep_tcb_terms(TcbTerms(min_tcb_evaluation=3))
    rules = platform_rules(party, party.trust.trust_settings, TcbTerms(smt=False))
    assert rules.terms == (TcbTerms(min_tcb_evaluation=3), TcbTerms(smt=False))


def test_an_inventory_of_other_release_keys_is_none(party: Party, world: BrokerWorld, tmp_path: Path) -> None:
    """As after a pin of a release under other keys; the next one of these takes its place."""
    list(inventory.keep_inventory(party, written(tmp_path, inventory_of(7, *world.release_keys))))
    other = BrokerWorld(tmp_path / "other")
    assert platform_rules(party, world.trust).inventory.number == 7
    assert platform_rules(party, other.trust).inventory == NO_INVENTORY


def test_own_terms_are_pinned_with_the_broker_and_hold_from_then_on(
    party: Party, world: BrokerWorld, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AttestationService, "release", lambda _: world.release)
    monkeypatch.setattr(pinning, "IngestService", lambda *_: _Nobody())
    monkeypatch.setattr(pinning, "bind_if_awake", lambda _: iter(()))
    told = list(pinning.pin(party, operator.endpoints, world.trust))
    fingerprint = e.outcome(told, e.Pinned).fingerprint
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(pinning.pin(party, operator.endpoints, world.trust, expect=fingerprint, tcb=denied(world)))
    assert party.tcb_terms is None
    terms = TcbTerms(platforms=names_of(world.platform))
    list(pinning.pin(party, operator.endpoints, world.trust, expect=fingerprint, tcb=terms))
    list(pinning.pin(party, operator.endpoints, world.trust, expect=fingerprint))
    assert party.tcb_terms == terms
    party.keep_tcb_terms(denied(world))
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(pinning.pin(party, operator.endpoints, world.trust, expect=fingerprint))


class _Nobody:
    def enrol(self) -> None:
        pass


def test_the_command_line_says_own_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[TcbTerms | None]()

    def pinned(*_: object, tcb: TcbTerms | None, **__: object) -> Iterator[e.Event]:
        seen.append(tcb)
        return iter(())

    monkeypatch.setattr("client.commands.pin.pin", pinned)
    monkeypatch.setattr("client.commands.options.Surroundings.trust_settings", lambda *_: None)
    monkeypatch.setattr("client.commands.options.Surroundings.endpoints", lambda _: None)
    file = tmp_path / "tcb.json"
    file.write_bytes(TcbTerms(min_tcb_evaluation=4, smt=False).encode())
    said = ["--tcb", str(file), "--deny-platform", "ab" * 16, "--accept-status", "SWHardeningNeeded"]
    for options in ([], said):
        result = CliRunner().invoke(main, ["owner", "pin", *options])
        assert result.exit_code == 0, result.output
    statuses = (TcbStatus.SW_HARDENING_NEEDED,)
    told = {"min_tcb_evaluation": 4, "smt": False, "denied_platforms": ("ab" * 16,), "accepted_statuses": statuses}
    assert seen == [None, TcbTerms.model_validate(told)]


def test_the_command_line_keeps_an_inventory_and_no_older_one(party: Party, world: BrokerWorld, tmp_path: Path) -> None:
    newer = written(tmp_path, inventory_of(2, *world.release_keys))
    older = written(tmp_path, inventory_of(1, *world.release_keys))
    told = []
    for file in (newer, newer, older):
        options = ["--home", str(party.directory.parent), "--as", "owner", "--json"]
        result = CliRunner().invoke(main, ["release", "keep-inventory", str(file), *options])
        told.append([json.loads(line) for line in result.output.splitlines()])
    assert [one["type"] for one in told[0]] == ["inventory-shown", "signatures-counted", "noted"]
    assert told[1] == told[0]
    assert told[2][-1]["code"] == "freshness.inventory"
    assert party.inventory == inventory_of(2, *world.release_keys)


def test_an_order_is_sealed_to_no_machine_that_its_data_s_policy_denies(
    party: Party, world: BrokerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "fetch_publication", lambda *_: PUBLICATION)
    monkeypatch.setattr(ordering, "fetch_sizes", lambda *_: [3])
    monkeypatch.setattr(ordering, "make_order", _never)
    data = world.register_data(tcb=denied(world))
    party.keep_document("policies", data.dataset_id, data.policy)
    other = world.register_data()
    assert terms_over(party, other.dataset_id, data.dataset_id) == (denied(world),)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(ordering.train(party, Training(data.dataset_id, world.register_bundle().bundle_id)))


def _never(*_: object) -> None:
    raise AssertionError("something was sealed")


@pytest.mark.parametrize("by", ["the first terms", "the newest terms"])
def test_no_bundle_s_key_is_wrapped_to_a_machine_that_its_terms_deny(
    party: Party, world: BrokerWorld, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Nor where it is published again and later terms are those that deny it."""
    bundle = world.seal_bundle()
    for name, value in (
        ("require_intact", OBJECT), ("_own_contents", _Contents()), ("upload_object", iter(())),
        ("_publication", bundle.publication),
    ):  # fmt: skip
        monkeypatch.setattr(provider, name, lambda *_, value=value: value)
    monkeypatch.setattr(provider, "_registration", _never)
    terms = ProviderTerms(tcb=denied(world))
    if by == "the newest terms":
        newest = world.bundle_terms(world.provider, tcb=denied(world), policy_version=2, previous=bundle.terms.digest)
        party.keep_document("policies", bundle.bundle_id, sign(newest, world.provider.key))
        terms = ProviderTerms()
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(provider.publish(party, Path(), terms))


def test_no_data_key_is_wrapped_again_to_a_machine_that_its_policy_denies(
    party: Party, world: BrokerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = world.seal_data(tcb=denied(world))
    for name, value in (
        ("require_intact", OBJECT), ("upload_object", iter(())), ("_first_policy", data.policy),
        ("_manifest", data.manifest),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, lambda *_, value=value: value)
    monkeypatch.setattr(owner, "wrap_ring", _never)
    party.keep_document("policies", data.dataset_id, data.policy)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        list(owner.upload(party, Path()))


class _Contents:
    manifest = None


def test_what_ends_something_goes_to_any_machine(party: Party, world: BrokerWorld) -> None:
    party.keep_tcb_terms(denied(world))
    data = world.register_data()
    told = owner.delete(party, data.dataset_id)
    noted = next(told)
    assert isinstance(noted, e.Noted)
    assert noted.warning
    assert "appraisal.platform" in noted.text
    party.pin(party.trust.model_copy(update={"broker": BrokerWorld(party.directory / "other").genesis}))
    with pytest.raises(AuthenticityError, match=r"authenticity\.broker_reply"):  # another broker is another matter
        list(owner.delete(party, data.dataset_id))


def test_an_inventory_is_brought_to_the_very_machine_that_it_revokes(
    party: Party, world: BrokerWorld, tmp_path: Path
) -> None:
    over = names_of(world.platform)
    newest, first = inventory_of(3, *world.release_keys, revoked=over), inventory_of(1, *world.release_keys)
    list(inventory.keep_inventory(party, written(tmp_path, newest)))
    with pytest.raises(FreshnessError, match=r"freshness\.inventory"):
        BrokerLink(party).verify()
    for document in (first, newest):
        told = e.outcome(inventory.publish_inventory(party, written(tmp_path, document)), e.InventoryInForce)
        assert told.digest == document.digest
        assert party.inventory == newest
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        BrokerLink(party).verify()


def test_whoever_publishes_one_remembers_it(party: Party, world: BrokerWorld, tmp_path: Path) -> None:
    document, before = inventory_of(1, *world.release_keys), world.store.copy()
    list(inventory.publish_inventory(party, written(tmp_path, document)))
    world.restart(before)
    with pytest.raises(FreshnessError, match=r"freshness\.inventory"):
        BrokerLink(party).verify()


def test_a_user_asks_the_broker_for_the_newest_before_a_question(
    party: Party, world: BrokerWorld, operator: Operator
) -> None:
    trust = world.trust
    assert user._rules(party).inventory == NO_INVENTORY
    for number in (1, 2):
        shown = inventory_of(number, *world.release_keys)
        world.channel().ask(TakeInventory(inventory=shown), InventoryTaken)
        assert user._rules(party).inventory.number == number
        assert Party(party.directory).inventory == shown
    with pytest.MonkeyPatch.context() as hidden:
        hidden.setattr(BrokerContext, "inventory_document", None)
        with pytest.raises(FreshnessError, match=r"freshness\.inventory"):
            user._rules(party)
    away = Party(party.directory, operator.endpoints.model_copy(update={"attestation": "http://127.0.0.1:9"}))
    assert user._rules(away) == platform_rules(party, trust)


def test_a_question_is_asked_under_these_rules(
    party: Party, world: BrokerWorld, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[PlatformRules]()
    carrying = world.runtime(QUERY).evidence(bytes(64))
    bare = DcapQuote(quote=carrying.quote)
    shown: tuple[Evidence, ...] = (bare, carrying)

    def opened(_transport: object, asking: QueryUser) -> None:
        seen.append(asking.pins.rules)
        for evidence in shown:
            assert asking.complete(evidence).collateral == operator.collateral  # of the service
        asking.remember(operator.collateral)
        raise AppraisalError("appraisal.binding")

    monkeypatch.setattr(QuerySession, "open", opened)
    party.keep_tcb_terms(TcbTerms(smt=False))
    document = inventory_of(1, *world.release_keys)
    world.channel().ask(TakeInventory(inventory=document), InventoryTaken)
    grant = world.grant(world.finish(world.start_job()))
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
        user.open_session(party, grant)
    assert [(one.inventory.number, one.terms) for one in seen] == [(1, (TcbTerms(smt=False),))]
    assert Party(party.directory).collateral_memory.marks
    away = Party(party.directory, operator.endpoints.model_copy(update={"attestation": "http://127.0.0.1:9"}))
    assert user._complete(away, carrying) == carrying
    with pytest.raises(FormatError, match=r"format\.collateral"):
        user._complete(away, bare)
