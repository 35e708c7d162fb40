"""Each numbered step of the verification is taken out of the code, to see that it alone refuses what it is for.

A step without evidence of its own fails the test, as does evidence that another step refuses, too.
"""

import re
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from common.errors import Refusal
from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct
from common.snp import certificates, report_format, revocation, verification
from tests.fakes.snp_defects import DEFECTS
from tests.fakes.snp_forge import SnpForge
from tests.fakes.switched_off import checked_steps, planned_steps, without

DOCUMENT: Final = Path(__file__).parents[4] / "docs" / "sev-snp.md"
RULES: Final = {
    "1": (report_format, report_format.parse_report),
    "3": (certificates, certificates.require_chain),
    "5": (revocation, revocation.require_unrevoked),
}
"""Steps that are made of lettered rules, each with its module and the function whose docstring lists them."""

VERSIONS: Final = ((SnpProduct.MILAN, 3), (SnpProduct.GENOA, 3), (SnpProduct.TURIN, 5))


def all_steps() -> list[str]:
    """Every number of the plan, those that are made of rules by their rules."""
    steps = []
    for step in planned_steps(str(verification.__doc__)):
        rule = RULES.get(step)
        steps += [step] if rule is None else [step + letter for letter in planned_steps(str(rule[1].__doc__))]
    return steps


def step_of(name: str) -> str:
    match = re.match(r"\((\w+)\) ", name)
    assert match is not None, name
    return match[1]


def verifier_without(*off: str) -> ModuleType:
    """The verification without these steps."""
    made = without(verification, *off)
    for number, (module, rule) in RULES.items():
        letters = [step[1] for step in off if len(step) == 2 and step[0] == number]
        setattr(made, rule.__name__, getattr(without(module, *letters), rule.__name__))
    return made


def judge(forge: SnpForge, evidence: SevSnpEvidence, *off: str) -> str | None:
    """The code of the refusal by a verifier without these steps; None when it accepts."""
    try:
        verifier_without(*off).verify_report(evidence, forge.roots, forge.time)
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda one: f"{one[0]} {one[1]}")
def forge(request: pytest.FixtureRequest) -> SnpForge:
    return SnpForge().of(*request.param)


def test_the_plan_is_what_the_code_does() -> None:
    assert checked_steps(verification) == set(planned_steps(str(verification.__doc__)))
    for module, rule in RULES.values():
        assert checked_steps(module) == set(planned_steps(str(rule.__doc__)))


def test_the_document_has_the_same_steps() -> None:
    section = DOCUMENT.read_text().split("## Is the report authentic?")[1].split("\n## ")[0]
    named = re.findall(r"^\| (\d[a-z]?(?:, \d[a-z])*) \|", section, re.MULTILINE)
    assert [step for cell in named for step in cell.split(", ")] == all_steps()


def test_every_step_has_evidence_of_its_own() -> None:
    assert {step_of(name) for name in DEFECTS} == set(all_steps())


@pytest.mark.parametrize("name", DEFECTS)
def test_each_step_alone_refuses_what_it_is_for(forge: SnpForge, name: str) -> None:
    code, make = DEFECTS[name]
    evidence = make(forge)
    assert judge(forge, evidence) == code
    assert judge(forge, evidence, step_of(name)) is None, "another check refuses it, too"


def test_good_evidence_passes_with_and_without_each_step(forge: SnpForge) -> None:
    good = forge.evidence()
    assert judge(forge, good) is None
    assert [step for step in all_steps() if judge(forge, good, step) is not None] == []
