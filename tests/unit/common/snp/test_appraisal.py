"""Each numbered step of the appraisal is taken out of the code, to see what it alone refuses. A step without such a
case fails.
"""

import re
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

import pytest
from pydantic import ValidationError

from common.errors import AppraisalError
from common.identifiers import ChipId, HexBytes32, HexBytes48
from common.messages.snp_reference_values import (
    PlatformFeature,
    SevSnpReferenceValue,
    SnpFloor,
    SnpProduct,
    SnpTcb,
    SnpTerms,
)
from common.messages.tcb_terms import Exposure
from common.snp import SnpClaims, appraisal, appraise, require_report_data, verify_report
from common.snp.bit_fields import GuestPolicy, PlatformInfo
from tests.fakes.snp_forge import SnpForge
from tests.fakes.snp_reports import DEBUG, MIGRATE_MA, SINGLE_SOCKET
from tests.fakes.switched_off import checked_steps, planned_steps, without

FORGE: Final = SnpForge()
MEASURED: Final = HexBytes48("6d" * 48)
USUAL: Final = 0b11 << 16
CLAIMS: Final = verify_report(
    FORGE.reporting(measurement=b"m" * 48, policy=USUAL | SINGLE_SOCKET, report_data=bytes(range(64))),
    FORGE.roots, FORGE.time,
)  # fmt: skip
CHIP: Final = ChipId("5a" * 64)
TCB: Final = SnpTcb(boot_loader=4, tee=0, snp=24, microcode=219)
FLOORS: Final = (SnpFloor(product=SnpProduct.MILAN, least=TCB),)
TERMS: Final = SnpTerms(floors=FLOORS, chips=(CHIP,), features=(PlatformFeature.ECC, PlatformFeature.ALIAS_CHECKED))
VALUE: Final = SevSnpReferenceValue(measurement=MEASURED, min_guest_svn=2, single_socket=True, terms=TERMS)


def other(**changed: Any) -> SnpClaims:
    return replace(CLAIMS, **changed)


def machine(**changed: Any) -> SnpClaims:
    return replace(CLAIMS, machine=replace(CLAIMS.machine, **changed))


def older(name: str, component: str) -> SnpClaims:
    tcb = TCB.model_copy(update={component: getattr(TCB, component) - 1})
    return machine(tcbs=CLAIMS.machine.tcbs | {name: tcb})


CASES: Final = {
    "(1) debug": (other(policy=GuestPolicy(USUAL | SINGLE_SOCKET | DEBUG)), VALUE, "debug"),
    "(1) migration": (other(policy=GuestPolicy(USUAL | SINGLE_SOCKET | MIGRATE_MA)), VALUE, "guest"),
    "(2) other measurement": (other(mr_launch=HexBytes48("6e" * 48)), VALUE, "measurement"),
    "(2) other host data": (other(host_data=HexBytes32("1" * 64)), VALUE, "measurement"),
    "(2) other ID key": (other(id_key_digest=HexBytes48("1" * 96)), VALUE, "measurement"),
    "(2) other author key": (other(author_key_digest=HexBytes48("1" * 96)), VALUE, "measurement"),
    "(2) no ID block": (CLAIMS, VALUE.model_copy(update={"id_key_digest": MEASURED}), "measurement"),
    "(2) earlier security version": (other(guest_svn=1), VALUE, "measurement"),
    "(3) several sockets": (other(policy=GuestPolicy(USUAL)), VALUE, "guest"),
    "(3) weaker privilege level": (other(vmpl=1), VALUE, "guest"),
    "(3) asked for by the host": (
        other(vmpl=0xFFFF_FFFF), VALUE.model_copy(update={"max_vmpl": 3}), "guest"),
    "(4) another machine": (machine(product=SnpProduct.GENOA), VALUE, "platform"),
}  # fmt: skip
MACHINES: Final = {
    "(a) line without a floor": (machine(product=SnpProduct.TURIN), TERMS, "platform"),
    "(a) chip that is not listed": (machine(chip=ChipId("5b" * 64)), TERMS, "platform"),
    "(a) chip without a name": (machine(chip=None), TERMS, "platform"),
    "(a) chip that is denied": (CLAIMS, SnpTerms(floors=FLOORS, denied_chips=(CHIP,)), "platform"),
    **{
        f"(b) {name} TCB, {component}": (older(name, component), TERMS, "firmware")
        for name in ("reported", "committed", "current", "launch")
        for component in ("boot_loader", "snp", "microcode")
    },
    "(c) SMT": (CLAIMS, SnpTerms(floors=FLOORS, smt=False), "platform_configuration"),
    "(c) no ECC": (machine(info=PlatformInfo(0b100001)), TERMS, "platform_configuration"),
    "(c) aliases unchecked": (machine(info=PlatformInfo(0b000101)), TERMS, "platform_configuration"),
}


def judge(module: ModuleType, claims: SnpClaims, asked: SevSnpReferenceValue | SnpTerms) -> str | None:
    """The code of the refusal."""
    try:
        if isinstance(asked, SnpTerms):
            module.require_machine(claims.machine, asked)
        else:
            module.appraise(claims, asked)
    except AppraisalError as refusal:
        return refusal.code.removeprefix("appraisal.")
    return None


@pytest.mark.parametrize("name", [*CASES, *MACHINES])
def test_each_step_alone_refuses_what_it_is_for(name: str) -> None:
    claims, asked, code = (CASES | MACHINES)[name]
    assert judge(appraisal, claims, asked) == code
    assert judge(without(appraisal, name[1]), claims, asked) is None, "another check refuses it, too"


def test_every_step_has_a_case_and_is_in_the_code() -> None:
    planned = {*planned_steps(str(appraisal.appraise.__doc__)), *planned_steps(str(appraisal.require_machine.__doc__))}
    assert planned == checked_steps(appraisal) == {re.match(r"\((.)\) ", name)[1] for name in [*CASES, *MACHINES]}  # type: ignore[index]


def test_what_was_expected_is_accepted() -> None:
    appraise(CLAIMS, VALUE)
    appraise(other(guest_svn=9), VALUE)
    newer = TCB.model_copy(update={"microcode": 220, "tee": 3})
    appraise(machine(tcbs=dict.fromkeys(CLAIMS.machine.tcbs, newer), info=PlatformInfo(0b111101)), VALUE)
    appraise(other(vmpl=2), VALUE.model_copy(update={"max_vmpl": 2}))
    appraise(CLAIMS, VALUE.model_copy(update={"terms": SnpTerms(floors=FLOORS)}))


def test_each_party_names_what_may_lie_open() -> None:
    claims = other(policy=GuestPolicy(USUAL | SINGLE_SOCKET | DEBUG))
    appraise(claims, VALUE.model_copy(update={"dangerously_allow": (Exposure.DEBUG,)}))


def test_report_data_is_bound_whole() -> None:
    require_report_data(CLAIMS, bytes(range(64)))
    for position in range(64):
        wrong = bytearray(range(64))
        wrong[position] ^= 0x80
        with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
            require_report_data(CLAIMS, bytes(wrong))
    with pytest.raises(ValueError, match="64 bytes"):
        require_report_data(CLAIMS, bytes(32))


def test_values_that_say_nothing_or_too_much_are_none() -> None:
    with pytest.raises(ValidationError):
        SnpTerms(floors=())
    with pytest.raises(ValidationError, match="one floor for each product"):
        SnpTerms(floors=FLOORS * 2)
    with pytest.raises(ValidationError, match="only Turin has an FMC"):
        SnpFloor(product=SnpProduct.GENOA, least=TCB.model_copy(update={"fmc": 1}))
    with pytest.raises(ValidationError, match="lay open debug and migration"):
        SevSnpReferenceValue(measurement=MEASURED, terms=TERMS, dangerously_allow=(Exposure.PROFILING,))
