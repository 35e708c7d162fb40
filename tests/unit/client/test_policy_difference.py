"""Every field of a policy is compared, and in the right direction."""

from typing import Any

import pytest

from client.policy_difference import KINDS, PATHS, TCB_KINDS, compare
from client.policy_document import DOCUMENTS
from client.policy_terms import PolicyTerms, ProviderTerms, RecoveryWishes
from common.errors import FormatError
from common.identifiers import Digest, Fmspc, PartyKey
from common.messages.answer_bounds import AnswerBounds
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.tcb_terms import TcbStatus, TcbTerms, TcbTolerance

A, B, C = PartyKey("a" * 64), PartyKey("b" * 64), PartyKey("c" * 64)
HELD = RecoveryWishes(holders=(A, B), needed=2)
D = Digest("d" * 64)


def test_every_field_is_compared() -> None:
    fields = PolicyTerms.model_fields.keys() | ProviderTerms.model_fields.keys()
    assert KINDS.keys() == fields - {"days"}
    assert TCB_KINDS.keys() == TcbTerms.model_fields.keys()


def test_fields_are_called_as_in_a_policys_file() -> None:
    def leads(kind: Any, path: str) -> bool:
        name, _, rest = path.partition(".")
        field = kind.model_fields.get(name)
        return field is not None and (not rest or leads(field.annotation, rest))

    for name in KINDS:
        assert any(leads(kind, PATHS.get(name, name)) for kind in DOCUMENTS.values()), name
    limits = SandboxBounds(memory_bytes=1 << 30, file_bytes=1 << 20, threads=8, cpu_seconds=60)
    bounds = AnswerBounds(top=2, decimals=1, queries_per_minute=9)
    found = compare(PolicyTerms(), PolicyTerms(sandbox_bounds=limits, answer_bounds=bounds, not_after=1))
    told = (*found.possible, *found.stops, *found.otherwise)
    for path in (text.partition(": ")[0] for text in told):
        assert leads(DOCUMENTS["data"], path), path
    assert "where.limits.memory_mib: 1,024 instead of without limit" in told
    assert len(told) == 8


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ({"providers": (A,)}, {"providers": (A, B)}),
        ({"bundles": (D,)}, {}),
        ({"purposes": ("training",)}, {"purposes": ("training", "refining")}),
        ({"columns": ("a",)}, {"columns": ("a", "b")}),
        ({"columns": ("a",)}, {}),
        ({"minimal_trust_level": "tdx"}, {"minimal_trust_level": "simulation"}),
        ({"releases": (D,)}, {"releases": (D, Digest("e" * 64))}),
        ({"measurements": ("e" * 64,)}, {}),
        ({"sandboxes": ("native",)}, {"sandboxes": ("native", "wasm")}),
        ({"sandbox_bounds": SandboxBounds(memory_bytes=1 << 30)}, {}),
        ({"sandbox_bounds": SandboxBounds(threads=8)}, {"sandbox_bounds": SandboxBounds(threads=9)}),
        ({"min_trainers": 2}, {}),
        ({"max_trainers": 2}, {}),
        ({"not_after": 1}, {"not_after": 2}),
        ({"max_jobs": 0}, {}),
        ({"max_attempts": 1}, {}),
        ({"max_state_class": 5}, {}),
        ({"max_state_class": 5}, {"max_state_class": 6}),
        ({"max_bits": 0}, {}),
        ({"users": (A,)}, {}),
        ({"users": (A,)}, {"users": (A, B)}),
        ({}, {"answers_total": 1}),
        ({"detail": "label"}, {}),
        ({"answer_bounds": AnswerBounds(top=2)}, {"answer_bounds": AnswerBounds(top=3)}),
        ({"answer_bounds": AnswerBounds(decimals=2)}, {}),
        ({"answer_bounds": AnswerBounds(queries_per_minute=2)}, {}),
        ({}, {"grants_to_provider": True}),
        ({}, {"refusal_report": "classes"}),
        ({"approvers": (A,), "approvals_needed": 1}, {"approvers": (A,)}),
        ({}, {"recovery": RecoveryWishes(holders=(), needed=2)}),
        ({"recovery": HELD}, {"recovery": HELD.model_copy(update={"holders": (A, B, C)})}),
        ({"recovery": HELD.model_copy(update={"needed": 3})}, {"recovery": HELD}),
        ({}, {"tcb": TcbTerms(accepted_statuses=(TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE))}),
        ({}, {"tcb": TcbTerms(tolerances=(TcbTolerance(status=TcbStatus.OUT_OF_DATE, until=1),))}),
        ({"tcb": TcbTerms(rejected_advisories=("INTEL-SA-00837",))}, {}),
        ({"tcb": TcbTerms(min_tcb_evaluation=3)}, {}),
        ({"tcb": TcbTerms(allowed_fmspcs=(Fmspc("00" * 6),))}, {}),
        ({"tcb": TcbTerms(denied_fmspcs=(Fmspc("00" * 6),))}, {}),
        ({"tcb": TcbTerms(smt=False)}, {}),
    ],
)
def test_what_widens_and_what_narrows(narrow: dict[str, Any], wide: dict[str, Any]) -> None:
    old, new = PolicyTerms(**narrow), PolicyTerms(**wide)
    widened, narrowed = compare(old, new), compare(new, old)
    assert (len(widened.possible), widened.stops, widened.otherwise) == (1, (), ())
    assert (narrowed.possible, len(narrowed.stops), narrowed.otherwise) == ((), 1, ())
    assert widened.possible[0].startswith(tuple(PATHS.get(name, name) for name in narrow | wide))
    assert compare(old, old).same


def test_a_swap_is_both() -> None:
    found = compare(PolicyTerms(providers=(A,)), PolicyTerms(providers=(B,)))
    assert (found.possible, found.stops) == ((f"allow.providers: {B}",), (f"allow.providers: {A}",))


def test_what_has_no_direction_is_said_apart() -> None:
    found = compare(PolicyTerms(minimal_trust_level="sgx"), PolicyTerms(minimal_trust_level="tdx", approvers=(A,)))
    assert (found.possible, found.stops, len(found.otherwise)) == ((), (), 2)


def test_a_release_beside_the_pinned_one_has_no_direction() -> None:
    found = compare(PolicyTerms(), PolicyTerms(releases=(D,)))
    assert (found.possible, found.stops) == ((), ())
    assert found.otherwise == (f"where.releases: {D} instead of the pinned one",)


def test_only_policies_of_one_kind_are_compared() -> None:
    with pytest.raises(FormatError, match="format.policy"):
        compare(PolicyTerms(), ProviderTerms())


def test_who_holds_shares_is_compared_holder_by_holder() -> None:
    found = compare(PolicyTerms(), PolicyTerms(recovery=HELD))
    assert found.possible == (
        f"recovery.holders: {A}", f"recovery.holders: {B}", "recovery: any 2 holders together instead of nobody",
    )  # fmt: skip
    swapped = compare(PolicyTerms(recovery=HELD), PolicyTerms(recovery=HELD.model_copy(update={"of_operator": (A,)})))
    assert (swapped.possible, swapped.stops, len(swapped.otherwise)) == ((), (), 1)
