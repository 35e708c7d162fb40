"""Each numbered step of a handover is taken out of the code, on either side, to see what it alone refuses.

Steps are read from the code, and one without a case of its own fails. What a step returns, a step that was taken out
says of an heir, or of a giver, without a defect.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from common.crypto.signing import SigningKey
from common.dcap import QuoteClaims, verify_quote
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import Refusal
from common.identifiers import MrEnclave, PlatformId
from common.messages.evidence import TrustLevel
from common.messages.handover import GiveHandover, HandoverGiven, TakeHandover
from common.messages.launch_binding import LaunchBinding
from common.messages.platform_inventory import InventoryTaken, PlatformInventory, TakeInventory
from common.messages.release import Release
from common.messages.signed import Signed, read_document
from services.attestation import handover, inheritance
from services.attestation.challenges import LIFETIME_SECONDS
from services.attestation.context import BrokerContext, WitnessRule
from services.attestation.decision_log import Decision
from services.attestation.handover_package import unpack
from services.attestation.records import InventoryRecord
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore, TestRuntime
from tests.fakes.handover_world import LATER, Heir
from tests.fakes.machines import another_machine, inventory_of, names_of
from tests.fakes.switched_off import checked_steps, planned_steps, without

OTHER: Final = MrEnclave("f" * 64)


def step_of(name: str) -> str:
    return str(re.findall(r"^\((\d)\) ", name)[0])


def refusal_by(judge: Callable[[], object]) -> str | None:
    try:
        judge()
    except Refusal as refusal:
        return refusal.code
    return None


def claims_of(world: BrokerWorld, measurement: MrEnclave) -> QuoteClaims:
    """What a genuine enclave that measures so claims."""
    quoted = world.runtime("broker", measurement).evidence(bytes(64))
    return verify_quote(quoted, world.trust.allowed_roots, world.time)


def revoke(world: BrokerWorld, *machines: PlatformId) -> None:
    """The release keys revoke these machines, and the giver hears of it."""
    world.channel().ask(TakeInventory(inventory=inventory_of(1, *world.release_keys, revoked=machines)), InventoryTaken)


# -- the giver ---------------------------------------------------------------------------------------------------------


@dataclass
class Asking:
    """An heir that asks for the state; fields say what is wrong with it."""

    world: BrokerWorld
    late: int = 0
    release: Signed | None = None
    measurement: MrEnclave | None = None
    binding: dict[str, Any] = field(default_factory=dict)
    machine: SimulatedPlatform | None = None

    def ask(self, *off: str) -> object:
        world, made = self.world, without(handover, *off)
        if "2" in off:
            vars(made)["require_release"] = lambda signed, _: read_document(signed, Release)
        heir = Heir.of(world)
        if "3" in off:
            vars(made)["verify_launch"] = lambda *_, **__: claims_of(world, LATER["broker"])
        giver = made.Handover(world.context)
        offer, asked = heir.ask(giver.offer(world.time))
        challenges = giver._challenges
        if "1" in off:
            vars(challenges)["spend"] = lambda identifier, *_, **__: challenges.find(identifier)
        binding: LaunchBinding = asked.binding.model_copy(update=self.binding)
        runtime = world.runtime("broker", self.measurement or LATER["broker"])
        runtime = replace(runtime, platform=self.machine or runtime.platform)
        body = GiveHandover(
            challenge_id=offer.challenge_id, binding=binding, evidence=runtime.evidence(binding.report_data()),
            release=self.release or heir.release,
        )  # fmt: skip
        return giver.agree(body, world.time + self.late)


def _of_frozen_broker(world: BrokerWorld) -> Asking:
    world.rule = WitnessRule((SigningKey.generate().party,), 1)
    world.restart(MemoryStore())
    return Asking(world)


def _of_revoked_machine(world: BrokerWorld) -> Asking:
    revoke(world, *names_of(world.platform))
    return Asking(world, machine=another_machine(world.platform))


def _by_revoked_machine(world: BrokerWorld) -> Asking:
    machine = another_machine(world.platform)
    revoke(world, *names_of(machine))
    return Asking(world, machine=machine)


def _on_weaker_platform(world: BrokerWorld) -> Asking:
    world.start_on(replace(world.runtime("broker"), trust_level=TrustLevel.TPM_IMA))
    return Asking(world)


def _after_another(world: BrokerWorld) -> Asking:
    Asking(world).ask()
    return Asking(world)


def _with_data(world: BrokerWorld) -> Asking:
    world.register_data()
    return Asking(world)


GIVER: Final[dict[str, tuple[str, Callable[[BrokerWorld], Asking]]]] = {
    "(1) frozen broker": ("unavailable.frozen", _of_frozen_broker),
    "(1) broker on a revoked machine": ("appraisal.platform_revoked", _of_revoked_machine),
    "(1) challenge of some time ago": (
        "freshness.challenge", lambda world: Asking(world, late=LIFETIME_SECONDS + 1)),
    "(2) release of other keys": (
        "appraisal.release", lambda world: Asking(world, release=world.sign_release(LATER, SigningKey.generate()))),
    "(3) other code": ("appraisal.measurement", lambda world: Asking(world, measurement=OTHER)),
    "(3) heir of another broker": (
        "appraisal.binding", lambda world: Asking(world, binding={"signing_public": SigningKey.generate().party})),
    "(3) heir on a revoked machine": ("appraisal.platform_revoked", _by_revoked_machine),
    "(4) weaker platform": ("appraisal.trust_level", _on_weaker_platform),
    "(5) second heir": ("conflict.handed_over", _after_another),
    "(6) data whose owner names another release": ("conflict.handover_terms", _with_data),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVER)
def test_each_step_of_the_giver_alone_refuses_what_it_is_for(tmp_path: Path, name: str) -> None:
    code, make = GIVER[name]
    assert refusal_by(make(BrokerWorld(tmp_path / "with")).ask) == code
    asking = make(BrokerWorld(tmp_path / "without"))
    assert refusal_by(lambda: asking.ask(step_of(name))) is None


# -- the heir ----------------------------------------------------------------------------------------------------------


@dataclass
class Given:
    """What a giver has given, and to which heir; `release` is that of the giver."""

    heir: Heir
    given: HandoverGiven
    release: Signed

    def take(self, *off: str) -> BrokerContext:
        heir, world, made = self.heir, self.heir.world, without(inheritance, *off)
        if "1" in off:
            vars(made)["require_release"] = lambda signed, _: read_document(signed, Release)
        if "2" in off:
            said = self._binding_of_giver()
            vars(made)["verify_quote"] = lambda *_: replace(
                claims_of(world, MEASUREMENTS["broker"]), report_data=said.report_data()
            )
        if "4" in off:
            with unaware():
                good = heir.give()
            vars(made)["unpack"] = lambda _, store, key, own: unpack(good.package, store, key, own)
            vars(made)["require_platform_inventory"] = lambda signed, _: read_document(signed, PlatformInventory)
        assert heir.sealed_key is not None
        body = TakeHandover(given=self.given, sealed_key=heir.sealed_key, release=self.release)
        context: BrokerContext = made.take_handover(
            heir.runtime, body, heir.package, world.store, world.rule, world.time
        )
        return context

    def _binding_of_giver(self) -> LaunchBinding:
        _, asked = self.heir.ask()
        return self.given.package.giver_binding(asked.binding.wrapping_public)


@contextmanager
def unaware() -> Iterator[None]:
    """The giver is forged: it does not ask whether its machine is revoked."""
    with pytest.MonkeyPatch.context() as forged:
        forged.setattr(BrokerContext, "require_own_machine", lambda _: None)
        yield


def _given(world: BrokerWorld, measurement: MrEnclave = LATER["broker"]) -> Given:
    """To an heir on another machine."""
    heir = Heir.of(world, measurement)
    heir.runtime = replace(heir.runtime, platform=another_machine(world.platform))
    with unaware():
        return Given(heir, heir.give(), world.release)


def _of_other_keys(world: BrokerWorld) -> Given:
    return replace(_given(world), release=world.sign_release(MEASUREMENTS, SigningKey.generate()))


def _requoted(given: Given, runtime: TestRuntime, report_data: bytes | None = None) -> Given:
    quoted = given._binding_of_giver().report_data() if report_data is None else report_data
    return replace(given, given=given.given.model_copy(update={"evidence": runtime.evidence(quoted)}))


def _of_other_root(world: BrokerWorld) -> Given:
    elsewhere = SimulatedPlatform.open_or_create(world.platform.directory.with_name("elsewhere"))
    return _requoted(_given(world), TestRuntime(elsewhere, MEASUREMENTS["broker"], world.trust))


def _of_weaker_platform(world: BrokerWorld) -> Given:
    given = _given(world)
    given.heir.runtime = replace(given.heir.runtime, trust_level=TrustLevel.TPM_IMA)
    return given


def _of_other_code(world: BrokerWorld) -> Given:
    return _requoted(_given(world), world.runtime("broker", OTHER))


def _of_other_package(world: BrokerWorld) -> Given:
    return _requoted(_given(world), world.runtime("broker"), bytes(64))


def _that_does_not_open(world: BrokerWorld) -> Given:
    given = _given(world)
    package = given.given.package
    key = bytes([*package.key[:-1], package.key[-1] ^ 1])
    broken = replace(given, given=given.given.model_copy(update={"package": package.model_copy(update={"key": key})}))
    return _requoted(broken, world.runtime("broker"))


def _inventory_of_other_keys(world: BrokerWorld) -> Given:
    record = InventoryRecord(document=inventory_of(1, SigningKey.generate()))
    world.context.state.commit(Decision("take-inventory"), world.time, record)
    return _given(world)


def _on_revoked_machine(world: BrokerWorld) -> Given:
    revoke(world, *names_of(world.platform))
    return _given(world)


def _from_revoked_machine(world: BrokerWorld) -> Given:
    """Its giver took the state from a broker on that machine."""
    before = _given(world)
    before.heir.adopt(before.take())
    world.release = before.heir.release
    revoke(world, *names_of(world.platform))
    world.machines["broker"] = before.heir.runtime.platform
    return _given(world, OTHER)


HEIR: Final[dict[str, tuple[str, Callable[[BrokerWorld], Given]]]] = {
    "(1) release of other keys": ("appraisal.release", _of_other_keys),
    "(2) other root": ("appraisal.root", _of_other_root),
    "(2) weaker platform": ("appraisal.trust_level", _of_weaker_platform),
    "(3) quote over another package": ("appraisal.binding", _of_other_package),
    "(4) package that does not open": ("authenticity.wrapped_key", _that_does_not_open),
    "(4) inventory of other keys": ("authenticity.signature", _inventory_of_other_keys),
    "(5) other code": ("appraisal.measurement", _of_other_code),
    "(5) giver on a revoked machine": ("appraisal.platform_revoked", _on_revoked_machine),
    "(5) giver that took over from a revoked machine": ("appraisal.platform_revoked", _from_revoked_machine),
}


@pytest.mark.parametrize("name", HEIR)
def test_each_step_of_the_heir_alone_refuses_what_it_is_for(tmp_path: Path, name: str) -> None:
    code, make = HEIR[name]
    given = make(BrokerWorld(tmp_path))
    assert refusal_by(given.take) == code
    assert refusal_by(lambda: given.take(step_of(name))) is None


@pytest.mark.parametrize(("module", "cases"), [(handover, GIVER), (inheritance, HEIR)])
def test_every_step_has_a_case(module: ModuleType, cases: dict[str, object]) -> None:
    assert set(planned_steps(str(module.__doc__))) == checked_steps(module) == {step_of(name) for name in cases}


def test_what_is_right_passes_with_and_without_each_step(tmp_path: Path) -> None:
    for step in ("", *planned_steps(str(handover.__doc__))):
        Asking(BrokerWorld(tmp_path / f"giver{step}")).ask(*step)
    for step in ("", *planned_steps(str(inheritance.__doc__))):
        _given(BrokerWorld(tmp_path / f"heir{step}")).take(*step)
