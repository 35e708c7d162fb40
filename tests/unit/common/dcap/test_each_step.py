"""Each numbered step of the verification is taken out of the code, to see what it alone refuses.

A vector is refused with its step's code; without that step it is accepted. Where another check refuses it as well,
`ALSO` says which: then it takes both. Steps are read from the code, and one without a vector of its own fails, but for
`NEVER_ALONE`.
"""

import re
import time
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.dcap import certificates, collateral, verification
from common.dcap.engine import pck_chain_pem, verify_with_engine
from common.dcap.quote_format import parse_quote
from common.errors import Refusal
from common.messages.evidence import AllowedRoot, SgxDcapEvidence, TdxDcapEvidence
from tests.fakes.defective_evidence import REFUSED_BY, Forge
from tests.fakes.switched_off import checked_steps, planned_steps, without
from tests.fakes.tdx_quotes import domains, tdx_evidence

Evidence = SgxDcapEvidence | TdxDcapEvidence

RULES: Final = {"3": (certificates, certificates.require_chains), "5": (collateral, collateral.require_collateral)}
"""Steps that are made of lettered rules, each with its module and the function whose docstring lists them."""

ENGINE: Final = "6"

NEVER_ALONE: Final = {"2": ENGINE, "3d": "3c", "5b": ENGINE}
"""What they refuse another step refuses, too. They say what to mend (2, 5b), or why (3d)."""

ALSO: Final = {
    "sgx (2) debug": ENGINE,
    "sgx (3c) collateral signed by another role": "3d",
    "sgx (3d) TCB signer below the PCK CA": "3c",
    "sgx (3e) collateral under another root": ENGINE,
    "sgx (3e) root of another subject": ENGINE,
    "sgx (5a) TCB info of TDX": ENGINE,
    "sgx (5a) QE identity of TDX": ENGINE,
    "sgx (5b) TCB info expired": ENGINE,
    "sgx (5b) TCB info from the future": ENGINE,
    "sgx (5b) QE identity expired": ENGINE,
    "sgx (5b) QE identity from the future": ENGINE,
    "sgx (5c) PCK CRL expired": ENGINE,
    "sgx (5c) root CRL expired": ENGINE,
    "sgx (6) PCK CA of another root": "3e",
    "tdx (1) TD 1.5 report cut short": ENGINE,
    "tdx (2) debug": ENGINE,
    "tdx (2) SEPT_VE_DISABLE clear": ENGINE,
    "tdx (2) service TD": ENGINE,
    "tdx (5a) TCB info of SGX": ENGINE,
    "tdx (5a) QE identity of SGX": ENGINE,
    "tdx (5a) QE identity v1": ENGINE,
}

NOW: Final = int(time.time())


def all_steps() -> list[str]:
    """Every number of the plan, those that are made of rules by their rules."""
    steps = []
    for step in planned_steps(str(verification.__doc__)):
        _, rule = RULES.get(step, (None, None))
        steps += [step] if rule is None else [step + letter for letter in planned_steps(str(rule.__doc__))]
    return steps


class Bench:
    """A forge, its vectors, and verifiers without steps."""

    def __init__(self, directory: Path) -> None:
        self.forge = Forge.make(directory)
        key = self.forge.platform.allowed_root.root_key_sha256
        self.roots = tuple(AllowedRoot(platform=tee, root_key_sha256=key) for tee in ("sgx", "tdx"))
        self.vectors: dict[str, tuple[str, Evidence]] = {
            f"sgx {name}": (code, make(self.forge)) for name, (code, make) in REFUSED_BY.items()
        }
        self.vectors |= {f"tdx {name}": vector for name, vector in domains(self.forge).items()}

    def judge(self, evidence: Evidence, *off: str) -> str | None:
        """The code of the refusal by a verifier without these steps; None when it accepts."""
        try:
            self._verifier(evidence, off).verify_quote(evidence, self.roots, NOW)
        except Refusal as refusal:
            return refusal.code
        except KeyError as missing:  # what a later step takes for granted
            return repr(missing)
        return None

    def good(self, like: Evidence) -> Evidence:
        """Evidence of the same kind without a defect."""
        version = int.from_bytes(like.quote[:2], "little")
        return (
            self.forge.evidence() if version == 3 else tdx_evidence(self.forge, version=version, extended=version == 5)
        )

    def _verifier(self, evidence: Evidence, off: tuple[str, ...]) -> ModuleType:
        """Steps whose value others need say what they would say of good evidence."""
        good, said = self.good(evidence), dict[str, object]()
        for number, (module, rule) in RULES.items():
            letters = [step[1] for step in off if len(step) == 2 and step[0] == number]
            said[rule.__name__] = getattr(without(module, *letters), rule.__name__)
        if "1" in off:
            quote = parse_quote(good.quote)
            said["parse_quote"] = lambda _: quote
        if ENGINE in off:
            root = self.forge.platform.pki.root.certificate.public_bytes(Encoding.DER)
            claims = verify_with_engine(good.quote, good.collateral, root, NOW)
            said["verify_with_engine"] = lambda *_: claims
        if {"1", ENGINE} <= set(off):  # the engine parses quotes, too
            said["pck_chain_pem"] = lambda _: pck_chain_pem(good.quote)
        made = without(verification, *off)
        vars(made).update(said)
        return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("platform") / "cpu")


@cache
def step_of(name: str) -> str:
    match = re.match(r"(?:sgx|tdx) \((\w+)\) ", name)
    assert match is not None, name
    return match[1]


def test_the_plan_is_what_the_code_does() -> None:
    assert checked_steps(verification) == set(planned_steps(str(verification.__doc__)))
    for module, rule in RULES.values():
        assert checked_steps(module) == set(planned_steps(str(rule.__doc__)))


def test_every_step_has_a_vector_that_it_alone_refuses(bench: Bench) -> None:
    named = {step_of(name) for name in bench.vectors}
    alone = {step_of(name) for name in bench.vectors if name not in ALSO}
    assert named == set(all_steps())
    assert set(all_steps()) - alone == NEVER_ALONE.keys()
    assert ALSO.keys() <= bench.vectors.keys()


def test_each_step_alone_refuses_what_it_is_for(bench: Bench) -> None:
    for name, (code, evidence) in bench.vectors.items():
        own, other = step_of(name), ALSO.get(name)
        assert bench.judge(evidence) == code, name
        if other is None:
            assert bench.judge(evidence, own) is None, f"{name}: another check refuses it, too"
        else:
            assert bench.judge(evidence, own) is not None, f"{name}: nothing else refuses it"
            assert bench.judge(evidence, own, other) is None, f"{name}: a third check refuses it"


def test_good_evidence_passes_with_and_without_each_step(bench: Bench) -> None:
    for good in (
        bench.forge.evidence(),
        tdx_evidence(bench.forge),
        tdx_evidence(bench.forge, version=5, extended=True),
    ):
        assert bench.judge(good) is None
        assert [step for step in all_steps() if bench.judge(good, step) is not None] == []
