"""A policy file becomes terms, or every mistake is named with its line and column."""

from pathlib import Path

import pytest

from client.policy_file import PolicyFileError, parse_policy, read_policy_file
from client.policy_terms import PolicyTerms, ProviderTerms
from common.messages.answer_bounds import AnswerBounds
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.tcb_terms import TcbStatus

KEY, OTHER = "a" * 64, "1" * 64
ANN, BOB, EVE = "b" * 64, "c" * 64, "e" * 64
RATE = "queries_per_minute: 60"
POLICY = f"""policy: data
allow: {{providers: [{KEY}], bundles: [{OTHER}]}}
purpose: [training]
columns: [image, label]
where:
  trust_level: tdx
  releases: [{OTHER}]
  revoked_releases: [{KEY}]
  measurements: [{"e" * 96}]
  tcb:
    tolerances: [{{status: SWHardeningNeeded, until: 2027-01-31}}]
    smt: no
  sandboxes: [native, wasm]
  limits: {{memory_mib: 1024, scratch_mib: 8, threads: 8, cpu_seconds: 600}}
  min_trainers: 2
  max_trainers: 4
until: 2027-06-30
at_most: {{jobs: 3, attempts: 4, state_values: 4096, bits: 20000}}
answering: {{users: [{OTHER}], answers: 100, detail: label, {RATE}, provider_too: yes, refusal_report: classes}}
changing: {{approvers: [{OTHER}], approvals: 1}}
recovery: {{holders: [{ANN}, {BOB}, {EVE}], of_operator: [{EVE}], needed: 2}}
"""


def problems(text: str) -> list[tuple[int, int, str, str]]:
    with pytest.raises(PolicyFileError, match="format.policy") as refused:
        parse_policy(text)
    return [(one.mark.line, one.mark.column, one.field, one.expected) for one in refused.value.problems]


def test_every_field_is_read() -> None:
    terms = parse_policy(POLICY)
    assert isinstance(terms, PolicyTerms)
    untouched = {name for name, field in PolicyTerms.model_fields.items() if getattr(terms, name) == field.default}
    assert untouched == {"days", "purposes"}
    assert terms.tcb.tolerances[0].status is TcbStatus.SW_HARDENING_NEEDED
    assert (terms.tcb.tolerances[0].until, terms.not_after) == (1_801_439_999, 1_814_399_999)
    assert not terms.tcb.smt
    expected = SandboxBounds(memory_bytes=1 << 30, file_bytes=8 << 20, threads=8, cpu_seconds=600)
    assert terms.sandbox_bounds == expected


def test_a_limit_is_the_end_of_its_day_and_a_tcb_date_the_beginning() -> None:
    wanted = "{status: OutOfDate, until: 2027-01-31, min_tcb_date: 2027-01-31}"
    terms = parse_policy(POLICY.replace("{status: SWHardeningNeeded, until: 2027-01-31}", wanted))
    (tolerance,) = terms.tcb.tolerances
    assert (tolerance.until, tolerance.min_tcb_date) == (1_801_439_999, 1_801_439_999 - 86_399)


def test_a_providers_terms_are_read() -> None:
    text = f"policy: bundle\nallow: {{owners: [{KEY}]}}\nuntil: 2027-06-30\nanswering: {{answers: 10, detail: label}}\n"
    terms = parse_policy(text)
    assert isinstance(terms, ProviderTerms)
    assert (terms.owners, terms.answers_total, terms.detail) == ((KEY,), 10, "label")


def test_bounds_of_answers_are_read_in_both_kinds() -> None:
    for kind in ("data", "bundle"):
        told = "answers: 9, top: 3, decimals: 2, queries_per_minute: 60"
        terms = parse_policy(f"policy: {kind}\nallow: {{}}\nuntil: 2027-06-30\nanswering: {{{told}}}\n")
        assert terms.answer_bounds == AnswerBounds(top=3, decimals=2, queries_per_minute=60)


def test_terms_have_the_fields_of_the_signed_documents() -> None:
    """So that nothing can be said in a file that is not signed, and nothing signed that a file can't say."""
    made_when_signed = {"type", "version", "owner", "provider", "report_key", "unsafe_simulation", "policy_version",
                        "previous"}  # fmt: skip
    for terms, document in ((PolicyTerms, DataPolicy), (ProviderTerms, BundleTerms)):
        assert terms.model_fields.keys() - {"days"} == document.model_fields.keys() - made_when_signed


def test_defaults_allow_nobody_anything() -> None:
    terms = parse_policy("policy: data\nallow: {}\nuntil: 2027-01-01\n")
    assert isinstance(terms, PolicyTerms)
    assert (terms.providers, terms.answers_total, terms.grants_to_provider) == ((), 0, False)


@pytest.mark.parametrize(
    ("line", "wrong", "place", "field", "expected"),
    [
        (2, f"allow: {{providers: [{KEY}, zz]}}", (2, 87), "allow.providers[1]", "64 lower-case hexadecimal digits"),
        (2, "allow: {provider: []}", (2, 9), "allow.provider", "providers? or one of providers, bundles"),
        (2, "alow: {}", (2, 1), "alow", "allow? or one of policy, allow"),
        (3, "purpose: [selling]", (3, 11), "purpose[0]", "'training' or 'refining'"),
        (4, "columns: image", (4, 10), "columns", "a list"),
        (4, "columns: [no-name]", (4, 11), "columns[0]", "a name of letters"),
        (6, "  trust_level: sgxx", (6, 16), "where.trust_level", "'simulation', 'tpm-ima'"),
        (
            11,
            "    tolerances: [{status: SWHardeningNeeded}]",
            (11, 18),
            "where.tcb.tolerances[0]",
            "a tolerance has a limit",
        ),
        (11, "    accepted_statuses: [Revoked]", (11, 5), "where.tcb", "a revoked TCB is never accepted"),
        (12, "    smt: perhaps", (12, 10), "where.tcb.smt", "yes or no"),
        (12, "    dangerously_allow: [everything]", (12, 25), "where.tcb.dangerously_allow[0]", "'debug', 'sept-ve'"),
        (12, "    dangerously_allow: [debug]", (6, 3), "where", "dangerously_allow: debug goes with trust level simul"),
        (
            12,
            "    service_domains: [all]",
            (12, 23),
            "where.tcb.service_domains[0]",
            "96 lower-case hexadecimal digits",
        ),
        (15, "  min_trainers: 9", (6, 3), "where", "min_trainers at most max_trainers"),
        (17, "until: soon", (17, 8), "until", "a day as 2027-06-30"),
        (18, "at_most: {jobs: many}", (18, 17), "at_most.jobs", "a whole number"),
        (18, "at_most: {attempts: 65}", (18, 21), "at_most.attempts", "less than or equal to 64"),
        (19, "answering: 5", (19, 12), "answering", "fields"),
        (19, "answering: {detail: label, top: 2}", (19, 12), "answering", "top and decimals are for detail: scores"),
        (19, "answering: {top: 257}", (19, 18), "answering.top", "less than or equal to 256"),
        (19, "answering: {decimals: 7}", (19, 23), "answering.decimals", "less than or equal to 6"),
        (
            19,
            "answering: {queries_per_minute: 0}",
            (19, 33),
            "answering.queries_per_minute",
            "greater than or equal to 1",
        ),
        (19, "answering: {users: }", (19, 19), "answering.users", "a list"),
        (20, "changing: {approvals: 1}", (20, 11), "changing", "at most as many approvals"),
        (21, f"recovery: {{holders: [{ANN}, {BOB}], needed: 1}}", (21, 11), "recovery", "2 shares are needed or more"),
        (21, f"recovery: {{holders: [{ANN}, {ANN}], needed: 2}}", (21, 11), "recovery", "holders are different keys"),
        (21, f"recovery: {{holders: [{ANN}, {BOB}], needed: 3}}", (21, 11), "recovery", "2 shares are needed or more"),
        (
            21,
            f"recovery: {{holders: [{ANN}, {BOB}], of_operator: [{ANN}, {BOB}], needed: 2}}",
            (21, 11),
            "recovery",
            "holders who are the operator's",
        ),
        (
            21,
            f"recovery: {{holders: [{ANN}, {KEY}], of_operator: [{ANN}], needed: 2}}",
            (1, 1),
            "",
            "holders who are the operator's, or allowed providers",
        ),
        (1, "policy: model", (1, 9), "policy", "`policy: data` or `policy: bundle`"),
    ],
)
def test_a_mistake_is_named_where_it_stands(
    line: int, wrong: str, place: tuple[int, int], field: str, expected: str
) -> None:
    lines = POLICY.splitlines()
    lines[line - 1] = wrong
    found = [one for one in problems("\n".join(lines)) if one[2] == field]
    assert [one[:2] for one in found] == [place]
    assert found[0][3].startswith(expected)


def test_all_mistakes_are_named_at_once_in_order() -> None:
    found = problems("policy: data\nuntil: x\nat_most: {jobs: -1}\n")
    assert [one[2] for one in found] == ["allow", "until", "at_most.jobs"]


def test_a_list_is_called_too_short_only_where_it_is() -> None:
    """Not where it holds one entry, and that is wrong."""
    policy = "policy: data\nallow: {}\nuntil: 2027-01-01\n"
    assert [one[2] for one in problems(f"{policy}purpose: [selling]\n")] == ["purpose[0]"]
    assert [one[2:] for one in problems(f"{policy}purpose: []\n")] == [("purpose", "1 or more items")]


def test_more_than_a_signed_policy_holds_is_a_mistake() -> None:
    keys = ", ".join(f"{number:064x}" for number in range(257))
    assert "at most 256 items" in problems(f"policy: data\nallow: {{providers: [{keys}]}}\nuntil: 2027-01-01")[0][3]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    for content in (b"\xff\xfe", None):
        if content is not None:
            path.write_bytes(content)
        else:
            path.unlink()
        with pytest.raises(PolicyFileError, match="format.policy"):
            read_policy_file(path)
