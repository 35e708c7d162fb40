"""Each numbered step of the verification is taken out of the code, to see what it alone refuses.

For quotes of every kind: a vector is refused with its step's code; without that step it is accepted. Where other
checks refuse it as well, `ALSO` says which: then it takes all of them. Steps are read from the code, and one without a
vector of its own fails.
"""

import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.dcap import certificates, collateral, engine, verification
from common.dcap.engine import pck_chain_pem, verify_with_engine
from common.dcap.quote_format import parse_quote
from common.errors import Refusal
from tests.fakes.defective_evidence import defects
from tests.fakes.evidence_forge import KINDS, Forge, FullEvidence, Kind
from tests.fakes.switched_off import checked_steps, planned_steps, without

DOCUMENT: Final = Path(__file__).parents[4] / "docs" / "attestation.md"

RULES: Final = {
    "3": (certificates, certificates.require_chains),
    "5": (collateral, collateral.require_collateral),
    "6": (engine, engine.verify_with_engine),
}
"""Steps that are made of lettered rules, each with its module and the function whose docstring lists them."""

ENGINE: Final = "6"
"""One call, so its rules are taken out together; `ENGINE_SAYS` tells them apart."""

ALSO: Final = {
    "(1) TD 1.5 report cut short": ENGINE,
    "(3e) collateral under another root": f"{ENGINE} 3b",
    "(3e) root of another subject": ENGINE,
    "(5a) TCB info of the other TEE": ENGINE,
    "(5a) QE identity of the other TEE": ENGINE,
    "(5b) TCB info expired": ENGINE,
    "(5b) TCB info from the future": ENGINE,
    "(5b) QE identity expired": ENGINE,
    "(5b) QE identity from the future": ENGINE,
    "(5c) PCK CRL expired": ENGINE,
    "(5c) root CRL expired": ENGINE,
    "(3a) PCK CA of another root": f"{ENGINE} 3b",
}
ALSO_IN_SGX: Final = {"(5a) QE identity v1": ENGINE, "(5a) QE identity v3": ENGINE}
ALSO_IN_TDX: Final = {"(5a) TCB info v2": ENGINE, "(5a) QE identity v1": ENGINE}

ENGINE_SAYS: Final = {
    "(2) debug": "Debug mode is enabled",
    "(2) SEPT_VE_DISABLE clear": "SEPT_VE_DISABLE is not enabled",
    "(2) profiled": "TD profiling is enabled",
    "(2) migratable": "TD migration is enabled",
    "(2) service TD": "Invalid MR service TD",
    "(6a) PCK expired": "Failed to verify certificate chain",
    "(6b) PCK revoked": "Failed to verify certificate chain",
    "(6b) PCK CA revoked": "Failed to verify certificate chain",
    "(6b) TCB signer revoked": "Failed to verify certificate chain",
    "(6b) PCK CRL of another key": "Failed to verify certificate chain",
    "(6b) PCK CRL of another CA": "Failed to verify certificate chain",
    "(6b) root CRL of another key": "Failed to parse root CA CRL",
    "(6c) TCB info signed by another": "Signature is invalid for tcb_info",
    "(6c) QE identity signed by another": "Signature is invalid for qe_identity",
    "(6d) QE report of another PCK": "Signature is invalid for qe_report",
    "(6e) QE report of another attestation key": "QE report hash mismatch",
    "(6f) QE of another signer": "QE MRSIGNER mismatch",
    "(6f) QE of another product": "QE ISVPRODID mismatch",
    "(6f) QE in debug": "QE report validation failed",
    "(6f) QE with another MISCSELECT": "QE MISCSELECT mismatch",
    "(6g) quote of another attestation key": "ISV enclave report signature is invalid",
    "(6h) TCB info of another FMSPC": "Fmspc mismatch",
    "(6h) TCB below every level": "No matching TCB level found",
    "(6h) module of another signer": "TDX module identity check",
    "(6h) module of no known version": "TDX module TCB level check",
    "(6i) revoked TCB level": "TCB status is invalid: Revoked",
}
"""The ground on which the engine refuses what is named here, in its words."""


def all_steps() -> list[str]:
    """Every number of the plan, those that are made of rules by their rules."""
    steps = []
    for step in planned_steps(str(verification.__doc__)):
        _, rule = RULES.get(step, (None, None))
        steps += [step] if rule is None else [step + letter for letter in planned_steps(str(rule.__doc__))]
    return steps


class Bench:
    """A forge of one kind of quotes, its vectors, and verifiers without steps."""

    def __init__(self, forge: Forge) -> None:
        self.forge, self.good, self.vectors = forge, forge.evidence(), defects(forge)
        self.also = ALSO | (ALSO_IN_TDX if forge.is_tdx else ALSO_IN_SGX)

    def judge(self, evidence: FullEvidence, *off: str) -> Refusal | KeyError | None:
        """The refusal by a verifier without these steps; None when it accepts."""
        try:
            self._verifier(off).verify_quote(evidence, self.forge.roots, self.forge.time)
        except (Refusal, KeyError) as refusal:  # KeyError: what a later step takes for granted
            return refusal
        return None

    def _verifier(self, off: tuple[str, ...]) -> ModuleType:
        """Steps whose value others need say what they would say of good evidence."""
        said = dict[str, object]()
        for number, (module, rule) in RULES.items():
            letters = [step[1] for step in off if len(step) == 2 and step[0] == number]
            said[rule.__name__] = getattr(without(module, *letters), rule.__name__)
        if "1" in off:
            quote = parse_quote(self.good.quote)
            said["parse_quote"] = lambda _: quote
        without_engine = any(step.startswith(ENGINE) for step in off)
        if without_engine:
            root = self.forge.platform.pki.root.certificate.public_bytes(Encoding.DER)
            claims = verify_with_engine(self.good.quote, self.good.collateral, root, self.forge.time)
            said["verify_with_engine"] = lambda *_: claims
        if without_engine and "1" in off:  # the engine parses quotes, too
            said["pck_chain_pem"] = lambda _: pck_chain_pem(self.good.quote)
        made = without(verification, *off)
        vars(made).update(said)
        return made


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge.make(tmp_path_factory.mktemp("platform") / "cpu")


@pytest.fixture(scope="module", params=KINDS)
def bench(forge: Forge, request: pytest.FixtureRequest) -> Bench:
    kind: Kind = request.param
    return Bench(forge.of(kind))


@cache
def step_of(name: str) -> str:
    match = re.match(r"\((\w+)\) ", name)
    assert match is not None, name
    return match[1]


def test_the_plan_is_what_the_code_does() -> None:
    assert checked_steps(verification) == set(planned_steps(str(verification.__doc__)))
    for module, rule in RULES.values():
        assert checked_steps(module) == set(planned_steps(str(rule.__doc__)))


def test_the_document_has_the_same_steps() -> None:
    section = DOCUMENT.read_text().split("## 1. Is the quote authentic?")[1]
    table = section.split("| step | alone refuses")[0]
    named = re.findall(r"^\| (\d[a-z]?(?:, \d[a-z])*) \|", table, re.MULTILINE)
    assert [step for cell in named for step in cell.split(", ")] == all_steps()


def test_every_step_has_a_vector_that_it_alone_refuses(bench: Bench) -> None:
    named = {step_of(name) for name in bench.vectors}
    alone = {step_of(name) for name in bench.vectors if name not in bench.also}
    assert named == alone == set(all_steps())


def test_each_step_alone_refuses_what_it_is_for(bench: Bench) -> None:
    for name, (code, evidence) in bench.vectors.items():
        own, other = step_of(name), bench.also.get(name)
        refusal = bench.judge(evidence)
        assert isinstance(refusal, Refusal), name
        assert refusal.code == code, name
        without_it = bench.judge(evidence, own)
        if other is None:
            assert without_it is None, f"{name}: another check refuses it, too"
        else:
            assert without_it is not None, f"{name}: nothing else refuses it"
            assert bench.judge(evidence, own, *other.split()) is None, f"{name}: a third check refuses it"


def test_the_engine_refuses_on_the_ground_that_the_rule_names(bench: Bench) -> None:
    root = bench.forge.platform.pki.root.certificate.public_bytes(Encoding.DER)
    for name in bench.vectors.keys() & ENGINE_SAYS.keys():
        evidence = bench.vectors[name][1]
        with pytest.raises(Refusal) as refused:
            verify_with_engine(evidence.quote, evidence.collateral, root, bench.forge.time)
        assert ENGINE_SAYS[name] in str(refused.value.seen), name


def test_what_is_said_of_vectors_is_said_of_some(forge: Forge) -> None:
    every = {name for kind in KINDS for name in defects(forge.of(kind))}
    assert {*ALSO, *ALSO_IN_SGX, *ALSO_IN_TDX, *ENGINE_SAYS} <= every
    assert {name for name in every if step_of(name)[0] == ENGINE} <= ENGINE_SAYS.keys()


def test_good_evidence_passes_with_and_without_each_step(bench: Bench) -> None:
    assert bench.judge(bench.good) is None
    assert [step for step in all_steps() if bench.judge(bench.good, step) is not None] == []
