"""Each numbered step by which a party verifies a broker or a query enclave is taken out, to see what it alone refuses.

Steps are read from the code, and one without a case of its own fails. What a step returns, a step that was taken out
says of a quote, reply or document without a defect.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from client import query_verification
from client.query_verification import QueryPins
from common import broker_verification
from common.crypto.signing import SigningKey
from common.dcap import NO_PLATFORM_RULES, PlatformRules, QuoteClaims, verify_quote
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import Refusal
from common.identifiers import Digest, MrEnclave, PlatformId
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.messages.evidence import SgxDcapEvidence, TrustLevel
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.platform_inventory import NO_INVENTORY, InventoryTaken, PlatformInventory, TakeInventory
from common.messages.policy import QueryGrant
from common.messages.release import Release
from common.messages.signed import Signed, read_document, sign
from common.messages.tcb_terms import TcbTerms
from services.attestation.decision_log import Decision
from services.attestation.records import InventoryRecord
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore, TestRuntime
from tests.fakes.handover_world import Heir
from tests.fakes.machines import another_machine, inventory_of, names_of
from tests.fakes.query_world import MEASUREMENT, Launch, QueryWorld
from tests.fakes.switched_off import checked_steps, planned_steps, without

OTHER: Final = MrEnclave("f" * 64)


def step_of(name: str) -> str:
    return str(re.findall(r"^\((\d)\) ", name)[0])


def refusal_by(verify: Callable[[], object]) -> str | None:
    try:
        verify()
    except Refusal as refusal:
        return refusal.code
    return None


# -- the key broker ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BindsNothing(TestRuntime):
    """A broker's platform whose quotes bind something else."""

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        return super().evidence(bytes(len(report_data)))


@dataclass(frozen=True)
class QuotesElsewhere(TestRuntime):
    """One whose quotes another installation makes."""

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        elsewhere = SimulatedPlatform.open_or_create(self.platform.directory.with_name("elsewhere"))
        return elsewhere.evidence(self.measurement, report_data)


@dataclass
class Asked:
    """A broker that was asked to describe itself, and how it is verified."""

    world: BrokerWorld
    signer: SigningKey | None = None
    release: Signed | None = None
    floor: TrustLevel = TrustLevel.SIMULATION
    rules: PlatformRules = NO_PLATFORM_RULES

    def verify(self, *off: str) -> object:
        world, made = self.world, without(broker_verification, *off)
        request = BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()
        raw = world.handle(request)
        if self.signer is not None:
            raw = sign(read_document(Signed.decode(raw), BrokerReply), self.signer).encode()
        if "1" in off:
            vars(made)["open_reply"] = lambda raw, *_: read_document(Signed.decode(raw), BrokerReply)
        if "2" in off:
            vars(made)["verify_quote"] = lambda *_: _claims(world, request)
        if "4" in off:
            vars(made)["shown_inventory"] = lambda _, known, __: known
        release = read_document(self.release or world.release, Release)
        return made.verify_broker(raw, request, world.trust, release, self.rules, world.time, floor=self.floor)


def _claims(world: BrokerWorld, request: bytes) -> QuoteClaims:
    nonce = BrokerRequest.decode(request).nonce
    binding = broker_verification.broker_binding(world.genesis, nonce, world.context.state.log.epoch)
    quoted = world.runtime("broker").evidence(binding.report_data())
    return verify_quote(quoted, world.trust.allowed_roots, world.time)


def _on(kind: type[TestRuntime]) -> Callable[[BrokerWorld], Asked]:
    def make(world: BrokerWorld) -> Asked:
        world.start_on(kind(world.platform, MEASUREMENTS["broker"], world.trust))
        return Asked(world)

    return make


def _knowing(number: int, shown: int) -> Callable[[BrokerWorld], Asked]:
    """Who verifies knows an inventory of this number; the broker shows that one, or none (0)."""

    def make(world: BrokerWorld) -> Asked:
        if shown:
            _revoke(world, number=shown)
        known = read_document(inventory_of(number, *world.release_keys), PlatformInventory)
        return Asked(world, rules=PlatformRules(known))

    return make


def _inventory_of_other_keys(world: BrokerWorld) -> Asked:
    record = InventoryRecord(document=inventory_of(1, SigningKey.generate()))
    world.context.state.commit(Decision("take-inventory"), world.time, record)
    return Asked(world)


def _revoke(world: BrokerWorld, *machines: PlatformId, number: int = 1) -> None:
    document = inventory_of(number, *world.release_keys, revoked=machines)
    world.channel().ask(TakeInventory(inventory=document), InventoryTaken)


def _on_revoked_machine(world: BrokerWorld) -> Asked:
    _revoke(world, *names_of(world.platform))
    return Asked(world)


def _on_denied_machine(world: BrokerWorld) -> Asked:
    terms = TcbTerms(denied_platforms=names_of(world.platform))
    return Asked(world, rules=PlatformRules(NO_INVENTORY, (terms,)))


def _from_revoked_machine(world: BrokerWorld) -> Asked:
    _revoke(world, *names_of(_heir_from_another_machine(world)))
    return Asked(world)


def _heir_from_another_machine(world: BrokerWorld) -> SimulatedPlatform:
    """The broker took its state over from one there."""
    before = world.machines["broker"] = another_machine(world.platform)
    world.restart(MemoryStore())
    heir = Heir.of(world)
    heir.runtime = replace(heir.runtime, platform=world.platform)
    heir.succeed()
    world.release = heir.release
    return before


def _from_denied_machine(world: BrokerWorld) -> Asked:
    over = names_of(_heir_from_another_machine(world))
    return Asked(world, rules=PlatformRules(NO_INVENTORY, (TcbTerms(denied_platforms=over),)))


BROKER: Final[dict[str, tuple[str, Callable[[BrokerWorld], Asked]]]] = {
    "(1) reply of another": ("authenticity.broker_reply", lambda world: Asked(world, signer=SigningKey.generate())),
    "(2) other root": ("appraisal.root", _on(QuotesElsewhere)),
    "(3) weaker than the floor": ("appraisal.trust_level", lambda world: Asked(world, floor=TrustLevel.TPM_IMA)),
    "(4) earlier inventory": ("freshness.inventory", _knowing(2, shown=1)),
    "(4) no inventory": ("freshness.inventory", _knowing(1, shown=0)),
    "(4) inventory of other keys": ("authenticity.signature", _inventory_of_other_keys),
    "(5) other code": (
        "appraisal.measurement",
        lambda world: Asked(world, release=world.sign_release(MEASUREMENTS | {"broker": OTHER})),
    ),
    "(5) revoked machine": ("appraisal.platform_revoked", _on_revoked_machine),
    "(5) machine that the caller denies": ("appraisal.platform", _on_denied_machine),
    "(6) quote over something else": ("appraisal.binding", _on(BindsNothing)),
    "(7) taken over from a revoked machine": ("appraisal.platform_revoked", _from_revoked_machine),
    "(7) taken over from a machine that the caller denies": ("appraisal.platform", _from_denied_machine),
}


def test_every_step_of_a_brokers_verification_has_a_case() -> None:
    steps = set(planned_steps(str(broker_verification.__doc__)))
    assert steps == checked_steps(broker_verification) == {step_of(name) for name in BROKER}


@pytest.mark.parametrize("name", BROKER)
def test_each_step_of_a_brokers_verification_alone_refuses_what_it_is_for(tmp_path: Path, name: str) -> None:
    code, make = BROKER[name]
    asked = make(BrokerWorld(tmp_path))
    assert refusal_by(asked.verify) == code
    assert refusal_by(lambda: asked.verify(step_of(name))) is None


def test_a_right_broker_passes_with_and_without_each_step(tmp_path: Path) -> None:
    asked = Asked(BrokerWorld(tmp_path))
    for step in ("", *planned_steps(str(broker_verification.__doc__))):
        asked.verify(*step)


# -- a query enclave ---------------------------------------------------------------------------------------------------


@dataclass
class Shown:
    """What a query enclave shows, and what its user holds it against."""

    world: QueryWorld
    launch: Launch
    grant: Signed
    pins: QueryPins

    def verify(self, *off: str) -> object:
        made = without(query_verification, *off)
        if "1" in off:
            vars(made)["require_release"] = lambda signed, _: read_document(signed, Release)
        if "2" in off:
            vars(made)["verify_quote"] = lambda *_: self._claims()
        if "6" in off:
            vars(made)["open_signed"] = lambda signed, *_: read_document(signed, Placement)
        proof: QueryEnclaveProof = self.launch.proof
        grant = read_document(self.grant, QueryGrant)
        return made.verify_query_enclave(proof, grant, self.pins, self.world.now())

    def _claims(self) -> QuoteClaims:
        evidence = self.world.platform.evidence(MEASUREMENT, self.launch.binding.report_data())
        return verify_quote(evidence, self.world.trust.allowed_roots, self.world.now())


def _shown(world: QueryWorld, grant: dict[str, Any] | None = None, **placement: Any) -> Shown:
    return Shown(world, world.launch(**placement), world.grant(**(grant or {})), world.pins)


def _of_another_release(world: QueryWorld) -> Shown:
    return _shown(world, {"release": Digest("1" * 64)}, release=Digest("1" * 64))


def _of_another_release_key(world: QueryWorld) -> Shown:
    shown = _shown(world)
    trust = world.trust.model_copy(update={"release_keys": (SigningKey.generate().party,)})
    return replace(shown, pins=replace(world.pins, trust=trust))


def _of_another_root(world: QueryWorld) -> Shown:
    shown = _shown(world)
    elsewhere = SimulatedPlatform.open_or_create(world.platform.directory.with_name("elsewhere"))
    shown.launch.evidence = elsewhere.evidence(MEASUREMENT, shown.launch.binding.report_data())
    return shown


def _weaker(world: QueryWorld) -> Shown:
    return replace(_shown(world), pins=replace(world.pins, floor=TrustLevel.TPM_IMA))


def _other_code(world: QueryWorld) -> Shown:
    shown = _shown(world)
    shown.launch.evidence = world.platform.evidence(OTHER, shown.launch.binding.report_data())
    return shown


def _of_revoked_machine(world: QueryWorld) -> Shown:
    over = PlatformInventory(number=1, platforms=(), revoked=names_of(world.platform), created=1)
    return replace(_shown(world), pins=replace(world.pins, rules=PlatformRules(over)))


def _of_denied_machine(world: QueryWorld) -> Shown:
    terms = TcbTerms(denied_platforms=names_of(world.platform))
    return replace(_shown(world), pins=replace(world.pins, rules=PlatformRules(NO_INVENTORY, (terms,))))


def _not_quoted(world: QueryWorld) -> Shown:
    shown = _shown(world)
    shown.launch.evidence = world.platform.evidence(MEASUREMENT, bytes(64))
    return shown


def _about_another_model(world: QueryWorld) -> Shown:
    shown = _shown(world)
    launch = shown.launch
    launch.binding = launch.binding.model_copy(update={"subject": Digest("1" * 64)})
    quoted = launch.binding.report_data()
    launch.evidence = world.platform.evidence(MEASUREMENT, quoted)
    placement = read_document(launch.placement, Placement).model_copy(update={"report_data": quoted})
    launch.placement = sign(placement, world.broker)
    return shown


def _placed_by_another(world: QueryWorld) -> Shown:
    shown = _shown(world)
    shown.launch.placement = sign(read_document(shown.launch.placement, Placement), SigningKey.generate())
    return shown


def _other_manifest(world: QueryWorld) -> Shown:
    shown = _shown(world)
    shown.launch.manifest = world.make_manifest(b"model two")
    return shown


QUERY_ENCLAVE: Final[dict[str, tuple[str, Callable[[QueryWorld], Shown]]]] = {
    "(1) other release than the grant's": ("appraisal.release", _of_another_release),
    "(1) other release keys": ("appraisal.release", _of_another_release_key),
    "(2) other root": ("appraisal.root", _of_another_root),
    "(3) weaker than the floor": ("appraisal.trust_level", _weaker),
    "(4) other code": ("appraisal.measurement", _other_code),
    "(4) revoked machine": ("appraisal.platform_revoked", _of_revoked_machine),
    "(4) machine that the user denies": ("appraisal.platform", _of_denied_machine),
    "(5) quote over something else": ("appraisal.binding", _not_quoted),
    "(5) quote about another model": ("appraisal.placement", _about_another_model),
    "(6) placed by another broker": ("authenticity.signature", _placed_by_another),
    "(7) placement of another launch": (
        "appraisal.binding", lambda world: _shown(world, launch=SigningKey.generate().party)),
    "(8) placed at another trust level": ("appraisal.placement", lambda world: _shown(world, trust_level="sgx")),
    "(8) placement that is over": ("freshness.placement", lambda world: _shown(world, not_after=1)),
    "(9) other manifest": ("appraisal.placement", _other_manifest),
}  # fmt: skip


def test_every_step_of_a_query_enclaves_verification_has_a_case() -> None:
    steps = set(planned_steps(str(query_verification.__doc__)))
    assert steps == checked_steps(query_verification) == {step_of(name) for name in QUERY_ENCLAVE}


@pytest.mark.parametrize("name", QUERY_ENCLAVE)
def test_each_step_of_a_query_enclaves_verification_alone_refuses_what_it_is_for(tmp_path: Path, name: str) -> None:
    code, make = QUERY_ENCLAVE[name]
    shown = make(QueryWorld(tmp_path))
    assert refusal_by(shown.verify) == code
    assert refusal_by(lambda: shown.verify(step_of(name))) is None


def test_a_right_query_enclave_passes_with_and_without_each_step(tmp_path: Path) -> None:
    shown = _shown(QueryWorld(tmp_path))
    for step in ("", *planned_steps(str(query_verification.__doc__))):
        shown.verify(*step)
