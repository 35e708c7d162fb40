"""Each numbered step on the way to keys is taken out of the code, to see what it alone refuses.

That is: admission, the verifier of launches, renewals, and what counts as a newer inventory of machines. Steps are read
from the code, and one without a case of its own fails. What a step returns, a step that was taken out says of a launch
without a defect.
"""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from common import platform_inventory as inventory_rules
from common.crypto.signing import SigningKey
from common.dcap import QuoteClaims, verify_quote
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import Refusal
from common.identifiers import MrEnclave, PlatformId
from common.key_retrieval import Launch
from common.messages.admission import Admit, Challenge, IssueChallenge, RenewLease
from common.messages.decision_log import LogSubjects
from common.messages.evidence import TrustLevel
from common.messages.platform_inventory import PlatformInventory, TakeInventory
from common.messages.signed import read_document, sign
from common.messages.tcb_terms import TcbTerms
from services.attestation import admission, leases, platform_inventory, verifier
from services.attestation.challenges import LIFETIME_SECONDS
from services.attestation.decision_log import Decision
from services.attestation.entitlement import EntitledRefusal
from services.attestation.records import JobRecord
from tests.fakes.broker_world import TRAINER, BrokerWorld, TestRuntime
from tests.fakes.half_launch import HalfLaunch
from tests.fakes.switched_off import checked_steps, planned_steps, without
from tests.unit.services.attestation.test_policy_fields import update

Asked = Admit | RenewLease | TakeInventory
Case = tuple[str, Callable[[BrokerWorld], Asked]]
OTHER: Final = PlatformId("ab" * 16)


# -- what is wrong: a world in, a request out; `world.time` is when it arrives ----------------------------------------


def _half(world: BrokerWorld, **terms: Any) -> HalfLaunch:
    return HalfLaunch(world, world.start_job(world.register_data(**terms)))


def _too_late(world: BrokerWorld) -> Admit:
    body = _half(world).body()
    world.time += LIFETIME_SECONDS + 1
    return body


def _order_is_over(world: BrokerWorld) -> Admit:
    order = world.order(world.register_data(), world.register_bundle(), not_after=world.time + 60)
    half = HalfLaunch(world, world.accept(sign(order, world.owner.key)).job_id)
    world.time += 61
    return half.body()


def _slot_is_taken(world: BrokerWorld) -> Admit:
    job = world.start_job()
    first, second = HalfLaunch(world, job), HalfLaunch(world, job)
    second.admit()
    return first.body()


def _attempts_tightened(world: BrokerWorld) -> Admit:
    data = world.register_data()
    job = world.start_job(data)
    HalfLaunch(world, job).admit()
    second = HalfLaunch(world, job)
    update(world, data, max_attempts=1)
    return second.body()


def _bits_tightened(world: BrokerWorld) -> Admit:
    data = world.register_data()
    half = HalfLaunch(world, world.start_job(data))
    update(world, data, max_bits=0)
    return half.body()


def _other_code(world: BrokerWorld) -> Admit:
    return _half(world).body(runtime=world.runtime("trainer", MrEnclave("f" * 64)))


def _other_root(world: BrokerWorld) -> Admit:
    elsewhere = SimulatedPlatform.open_or_create(world.platform.directory.with_name("elsewhere"))
    return _half(world).body(runtime=TestRuntime(elsewhere, world.runtime("trainer").measurement, world.trust))


def _other_slot(world: BrokerWorld) -> Admit:
    return _half(world).body(slot=1)


def _other_nonce(world: BrokerWorld) -> Admit:
    return _half(world).body(nonce=bytes(32))


def _other_report_data(world: BrokerWorld) -> Admit:
    half = _half(world)
    return half.body(quoted=half.binding.model_copy(update={"slot": 1}))


def _older_collateral(world: BrokerWorld) -> Admit:
    job = world.start_job()
    HalfLaunch(world, job, slot=1).admit()
    body = HalfLaunch(world, job).body()
    issued = datetime.fromtimestamp(world.time, UTC) - timedelta(days=3)
    older = world.platform.pki.collateral(issued)
    return body.model_copy(update={"evidence": body.evidence.model_copy(update={"collateral": older})})


def _platform_too_weak(world: BrokerWorld) -> Admit:
    half = _half(world)
    (job,) = world.context.state.all(JobRecord)
    stronger = job.model_copy(update={"trust_level": TrustLevel.TPM_IMA})
    world.context.state.commit(Decision("accept-order", LogSubjects()), world.time, stronger)
    return half.body()


def _evaluation_too_old(world: BrokerWorld) -> Admit:
    return _half(world, tcb=TcbTerms(min_tcb_evaluation=99)).body()


def _unlisted_measurement(world: BrokerWorld) -> Admit:
    return _half(world, measurements=(MrEnclave("f" * 64),)).body()


def _unknown_machine(world: BrokerWorld) -> Admit:
    return _half(world, tcb=TcbTerms(inventory=True)).body()


def _revoke_machine(world: BrokerWorld) -> None:
    machine = _good_claims(world).machine
    platform_inventory.take_inventory(world.context, _inventory(world, 1, revoked=machine.platform_ids), world.time)


def _revoked_machine(world: BrokerWorld) -> Admit:
    half = _half(world)
    _revoke_machine(world)
    return half.body()


def _renewal(world: BrokerWorld, launch: Launch | None = None, **changes: Any) -> RenewLease:
    launch = launch or world.launch(TRAINER, world.start_job())
    ask = IssueChallenge(role=TRAINER, job_id=launch.terms.job_id, slot=0, renews=launch.attempt)
    challenge = world.channel().ask(ask, Challenge)
    binding = launch.binding.model_copy(update={"nonce": challenge.nonce, **changes})
    evidence = world.runtime("trainer").evidence(binding.report_data())
    return RenewLease(challenge_id=challenge.challenge_id, binding=binding, evidence=evidence)


def _renewed_too_late(world: BrokerWorld) -> RenewLease:
    body = _renewal(world)
    world.time += LIFETIME_SECONDS + 1
    return body


def _renewed_when_over(world: BrokerWorld) -> RenewLease:
    order = world.order(world.register_data(), world.register_bundle(), not_after=world.time + 60)
    body = _renewal(world, world.launch(TRAINER, world.accept(sign(order, world.owner.key)).job_id))
    world.time += 61
    return body


def _renewed_by_another(world: BrokerWorld) -> RenewLease:
    return _renewal(world, signing_public=SigningKey.generate().party)


def _renewed_by_other_code(world: BrokerWorld) -> RenewLease:
    body = _renewal(world)
    evidence = world.runtime("trainer", MrEnclave("f" * 64)).evidence(body.binding.report_data())
    return body.model_copy(update={"evidence": evidence})


def _renewed_by_revoked_machine(world: BrokerWorld) -> RenewLease:
    body = _renewal(world)
    _revoke_machine(world)
    return body


def _inventory(
    world: BrokerWorld, number: int, *keys: SigningKey, revoked: tuple[PlatformId, ...] = ()
) -> TakeInventory:
    inventory = PlatformInventory(number=number, platforms=(), revoked=revoked, created=world.time)
    return TakeInventory(inventory=sign(inventory, *(keys or world.release_keys)))


def _strangers_inventory(world: BrokerWorld) -> TakeInventory:
    return _inventory(world, 1, SigningKey.generate())


def _earlier_inventory(world: BrokerWorld) -> TakeInventory:
    platform_inventory.take_inventory(world.context, _inventory(world, 2), world.time)
    return _inventory(world, 1)


def _reviving_inventory(world: BrokerWorld) -> TakeInventory:
    platform_inventory.take_inventory(world.context, _inventory(world, 1, revoked=(OTHER,)), world.time)
    return _inventory(world, 2)


ADMISSION: Final[dict[str, Case]] = {
    "(1) challenge of some time ago": ("freshness.challenge", _too_late),
    "(2) order that is over": ("freshness.order", _order_is_over),
    "(3) slot that another has got": ("freshness.attempt", _slot_is_taken),
    "(3) attempt beyond what a policy allows since the challenge": ("policy.attempts", _attempts_tightened),
    "(3) attempt whose bits no policy covers since": ("policy.bits", _bits_tightened),
    "(4) other code": ("appraisal.measurement", _other_code),
    "(4) other root": ("appraisal.root", _other_root),
    "(4) quote of another launch": ("appraisal.binding", _other_report_data),
    "(4) machine that the inventory has revoked": ("appraisal.platform_revoked", _revoked_machine),
    "(5) platform weaker than the job's": ("appraisal.trust_level", _platform_too_weak),
    "(5) terms over the TCB": ("appraisal.tcb_evaluation", _evaluation_too_old),
    "(5) measurements of a policy": ("policy.measurement", _unlisted_measurement),
    "(5) machine that the inventory does not know": ("appraisal.platform", _unknown_machine),
}
VERIFIER: Final[dict[str, Case]] = {
    "(1) binding of another slot": ("appraisal.binding", _other_slot),
    "(1) binding of another nonce": ("appraisal.binding", _other_nonce),
    "(2) other root": ("appraisal.root", _other_root),
    "(3) older collateral": ("freshness.collateral", _older_collateral),
    "(4) quote of another launch": ("appraisal.binding", _other_report_data),
    "(5) other code": ("appraisal.measurement", _other_code),
    "(5) machine that the inventory has revoked": ("appraisal.platform_revoked", _revoked_machine),
}
LEASES: Final[dict[str, Case]] = {
    "(1) challenge of some time ago": ("freshness.challenge", _renewed_too_late),
    "(2) order that is over": ("freshness.order", _renewed_when_over),
    "(3) key that is not the launch's": ("freshness.attempt", _renewed_by_another),
    "(4) other code": ("appraisal.measurement", _renewed_by_other_code),
    "(4) machine that was revoked since": ("appraisal.platform_revoked", _renewed_by_revoked_machine),
}
INVENTORY: Final[dict[str, Case]] = {
    "(1) a stranger's": ("authenticity.signature", _strangers_inventory),
    "(2) earlier number": ("freshness.inventory", _earlier_inventory),
    "(3) without what was revoked": ("freshness.inventory", _reviving_inventory),
}
PLANS: Final[dict[ModuleType, dict[str, Case]]] = {
    admission: ADMISSION, verifier: VERIFIER, leases: LEASES, inventory_rules: INVENTORY
}  # fmt: skip
"""Modules whose docstring is a plan -> what is wrong -> the code, and the request."""


# -- with and without the steps ---------------------------------------------------------------------------------------


def _good_claims(world: BrokerWorld, report_data: bytes = bytes(64)) -> QuoteClaims:
    return verify_quote(world.runtime("trainer").evidence(report_data), world.trust.allowed_roots, world.time)


def _admit(world: BrokerWorld, body: Admit, off: dict[ModuleType, str]) -> object:
    made = without(admission, *off.get(admission, ""))
    judge = without(verifier, *off.get(verifier, ""))
    if "2" in off.get(verifier, ""):
        vars(judge)["verify_quote"] = lambda *_: _good_claims(world, body.binding.report_data())
    vars(made)["verify_launch"] = judge.verify_launch
    if "4" in off.get(admission, ""):
        vars(made)["verify_launch"] = lambda *_, **__: _good_claims(world)
    return made.admit(world.context, body, world.time)


def _renew(world: BrokerWorld, body: RenewLease, off: dict[ModuleType, str]) -> object:
    return without(leases, *off.get(leases, "")).renew_lease(world.context, body, world.time)


def _take(world: BrokerWorld, body: TakeInventory, off: dict[ModuleType, str]) -> object:
    made, rules = without(platform_inventory), without(inventory_rules, *off.get(inventory_rules, ""))
    if "1" in off.get(inventory_rules, ""):
        vars(rules)["require_platform_inventory"] = lambda signed, _: read_document(signed, PlatformInventory)
    vars(made)["newer_inventory"] = rules.newer_inventory
    return made.take_inventory(world.context, body, world.time)


_ASKED: Final[dict[type[Asked], Callable[[BrokerWorld, Any, dict[ModuleType, str]], object]]] = {
    Admit: _admit, RenewLease: _renew, TakeInventory: _take
}  # fmt: skip


def judged(world: BrokerWorld, make: Callable[[BrokerWorld], Asked], off: dict[ModuleType, str]) -> str | None:
    """The code of the refusal by a broker without these steps; None when it grants."""
    body, challenges = make(world), world.context.challenges
    if "1" in (off.get(admission), off.get(leases)):
        vars(challenges)["spend"] = lambda identifier, *_, **__: challenges.find(identifier)
    try:
        _ASKED[type(body)](world, body, off)
    except EntitledRefusal as refusal:
        return refusal.refusal.code
    except Refusal as refusal:
        return refusal.code
    return None


def step_of(name: str) -> str:
    return str(re.findall(r"^\((\d)\) ", name)[0])


@pytest.mark.parametrize("module", PLANS, ids=lambda module: module.__name__)
def test_every_step_has_a_case(module: ModuleType) -> None:
    steps = set(planned_steps(str(module.__doc__)))
    assert steps == checked_steps(module) == {step_of(name) for name in PLANS[module]}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, cases in PLANS.items() for name in cases])
def test_each_step_alone_refuses_what_it_is_for(tmp_path: Path, module: ModuleType, name: str) -> None:
    code, make = PLANS[module][name]
    assert judged(BrokerWorld(tmp_path / "with"), make, {}) == code
    assert judged(BrokerWorld(tmp_path / "without"), make, {module: step_of(name)}) is None


@pytest.mark.parametrize("make", [lambda world: _half(world).body(), _renewal, lambda world: _inventory(world, 1)])
def test_what_is_right_passes_with_and_without_each_step(tmp_path: Path, make: Callable[[BrokerWorld], Asked]) -> None:
    places = (tmp_path / str(number) for number in itertools.count())
    assert judged(BrokerWorld(next(places)), make, {}) is None
    for module in PLANS:
        for step in planned_steps(str(module.__doc__)):
            assert judged(BrokerWorld(next(places)), make, {module: step}) is None, (module, step)
