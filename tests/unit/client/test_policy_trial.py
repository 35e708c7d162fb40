"""`cloister policy try` says what a broker would have done: one is let decide the same things under the same terms."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.cli import main
from client.past_facts import NotHeld, NotHeldError
from client.policy_events import DecisionTried, PolicyTried
from client.policy_trial import try_policy
from client.trial_rules import rules_of
from common.errors import NotFoundError, Refusal
from common.identifiers import DatasetId, Digest, Fmspc, GrantId, JobId, PartyKey
from common.leakage import attempt_bits, report_bits
from common.messages.policy import DataPolicy
from common.messages.signed import Signed, sign
from common.messages.tcb_terms import TcbTerms
from tests.fakes.broker_world import MEASUREMENTS, QUERY, SCHEDULE, TRAINER, BrokerWorld
from tests.fakes.broker_world import Party as WorldParty
from tests.fakes.log_keeping import Keeper, identity_directory
from tests.fakes.recovery_world import RecoveryWorld

OTHERS = PartyKey("a" * 64)
DIGEST = Digest("d" * 64)
FOLLOWED = "what would have followed a decision that would have been allowed"
SPENT = "how many bits left before it"
BITS = "how many bits an answer carries"
TRIED = DatasetId("data_" + "7" * 32)
"""Under this name the owner keeps the policy that is tried."""

Terms = dict[str, Any]


class Life:
    """The same acts under one policy; what became of each, and the log of it. `gone`: there was nothing to act on."""

    def __init__(self, directory: Path, policy: Terms, bundle: Terms) -> None:
        self.world = world = BrokerWorld(directory / "world")
        world.user = world.provider if "grants_to_provider" in policy else world.user
        self.data, self.bundle = world.register_data(**policy), world.register_bundle(**bundle)
        self.owner = identity_directory(world, world.owner, directory / "owner")
        self.provider = identity_directory(world, world.provider, directory / "provider")
        self.orders, self.grants, self.became = list[Signed](), list[Signed](), dict[str, str]()
        self.entries = dict[int, str]()
        job = self.act("order", lambda: self.order(trainers=2))
        first = self.act("launch", lambda: world.launch(TRAINER, job), job)
        self.act("relaunch", lambda: world.launch(TRAINER, job), first)
        self.act("wrong code", lambda: world.launch(TRAINER, job, 1, measurement=MEASUREMENTS["query"]), job)
        model = self.act("server", lambda: world.finish(job), job)
        placed = self.act("placement", lambda: world.launch(QUERY, job), model)
        for name in ("answers", "more answers"):
            self.act(name, lambda: world.draw(placed, self.grant(model), 30), placed)
        self.act("second order", lambda: self.order(trainers=3))

    def act(self, name: str, how: Callable[[], Any], on: Any = "nothing") -> Any:
        before = len(self.world.store.entries)
        try:
            done, self.became[name] = (None, "gone") if on is None else (how(), "done")
        except Refusal as refusal:
            done, self.became[name] = None, refusal.code
        self.entries |= dict.fromkeys(range(before, len(self.world.store.entries)), name)
        return done

    def order(self, trainers: int) -> JobId:
        self.orders.append(sign(self.world.order(self.data, self.bundle, trainers=trainers), self.world.owner.key))
        return self.world.accept(self.orders[-1]).job_id

    def grant(self, model: Signed) -> Signed:
        self.grants.append(self.world.grant(model))
        return self.grants[-1]

    def keep_documents(self) -> None:
        """What the commands keep in the owner's directory."""
        for order in self.orders:
            self.owner.keep_document("orders", JobId.of(order.digest), order)
        for grant in self.grants:
            self.owner.keep_document("grants", GrantId.of(grant.digest), grant)
        self.owner.keep_document("publications", self.bundle.bundle_id, self.bundle.publication)
        self.owner.keep_document("versions", self.data.policy.digest, self.data.policy)

    def tried(self, terms: Terms) -> tuple[dict[str, DecisionTried], PolicyTried]:
        """What the owner is told of other terms, by act."""
        policy = sign(self.world.policy_terms(self.world.owner, **terms), self.world.owner.key)
        self.owner.keep_document("policies", TRIED, policy)
        log = Keeper(self.world, self.owner).keep("log")
        *told, end = list(try_policy(self.owner, TRIED, log, self.data.dataset_id))[1:]
        assert isinstance(end, PolicyTried)
        return {self.entries[one.entry.number]: one for one in told if isinstance(one, DecisionTried)}, end


_numbers = itertools.count()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Life]:
    lives = dict[str, Life]()

    def lived(policy: Terms, bundle: Terms | None = None) -> Life:
        name = repr((policy, bundle))
        if name not in lives:
            lives[name] = Life(tmp_path_factory.mktemp(f"life-{next(_numbers)}"), policy, bundle or {})
            lives[name].keep_documents()
        return lives[name]

    return lived


PRICE, REPORT = attempt_bits(SCHEDULE), report_bits("classes")


@pytest.mark.parametrize(
    ("terms", "differ"),
    [
        ({}, set()),
        ({"providers": (OTHERS,)}, {"order", "second order"}),
        ({"bundles": (DIGEST,)}, {"order", "second order"}),
        ({"releases": (DIGEST,)}, {"order", "second order"}),
        ({"purposes": ("refining",)}, {"order", "second order"}),
        ({"sandboxes": ("wasm",)}, {"order", "second order"}),
        ({"min_trainers": 3}, {"order"}),
        ({"max_trainers": 2}, {"second order"}),
        ({"max_state_class": SCHEDULE.state_class - 1}, {"order", "second order"}),
        ({"max_state_class": SCHEDULE.state_class}, set()),
        ({"max_jobs": 1}, {"second order"}),
        ({"max_jobs": 1, "min_trainers": 3}, {"order"}),
        ({"max_attempts": 1}, {"relaunch"}),
        ({"measurements": tuple(MEASUREMENTS[role] for role in ("trainer", "paramserver"))}, {"placement"}),
        ({"measurements": tuple(MEASUREMENTS[role] for role in ("trainer", "query"))}, {"server"}),
        ({"not_after": 1}, {"order", "second order"}),
        ({"users": (OTHERS,)}, {"answers", "more answers"}),
        ({"answers_total": 30}, {"more answers"}),
        ({"max_bits": 2 * PRICE}, {"second order"}),
        ({"max_bits": 2 * PRICE - 1}, {"order", "second order"}),
        ({"refusal_report": "classes"}, set()),
        ({"max_bits": 2 * PRICE + REPORT, "refusal_report": "classes"}, {"second order"}),
        ({"max_bits": 2 * PRICE + REPORT - 1, "refusal_report": "classes"}, {"order", "second order"}),
        ({"columns": ("image",), "detail": "label", "max_attempts": 60}, set()),
    ],
)
def test_it_says_what_the_broker_does(live: Callable[..., Life], terms: Terms, differ: set[str]) -> None:
    then, now = live({}), live(terms)
    told, end = then.tried(terms)
    for name, became in then.became.items():
        one = told.get(name)
        if one is None:
            assert (now.became[name] == "done") == (became == "done"), name
        elif one.verdict == "refused" and one.after is None:
            assert now.became[name] in {reason.code for reason in one.reasons}, name
            assert {reason.field for reason in one.reasons} <= set(terms), name
        elif one.verdict == "refused":
            assert then.entries[one.after or 0] in differ
            assert now.became[name] == "gone", name
        else:
            assert "max_bits" in terms, (name, one.missing)
    assert {name for name, one in told.items() if one.reasons} == differ
    assert (end.refused, end.allowed) == (sum(one.verdict == "refused" for one in told.values()), 0)


def test_a_word_about_answers_that_are_held_asks_for_none(tmp_path: Path) -> None:
    """The broker's word after a lease (services/query_enclave/grants) counts for nothing, also where all was drawn."""
    life = Life(tmp_path, {}, {})
    life.keep_documents()
    placed = life.world.launch(QUERY, JobId.of(life.orders[0].digest))
    life.act("word", lambda: life.world.draw(placed, life.grants[-1], 0))
    assert life.became["word"] == "done"
    assert life.tried({"answers_total": 60})[0] == {}


def test_a_user_who_is_the_provider_is_told_apart(live: Callable[..., Life]) -> None:
    life = live({"grants_to_provider": True})
    told, end = life.tried({"users": (life.world.user.party,)})
    assert {name: [one.field for one in tried.reasons] for name, tried in told.items()} == {
        "answers": ["grants_to_provider"],
        "more answers": ["grants_to_provider"],
    }
    assert end.refused == 2


def test_over_data_of_several_owners_a_report_costs_what_all_of_them_say(tmp_path: Path) -> None:
    """What another owner's policy says of it, no log tells."""
    life = Life(tmp_path, {"answers_total": 0}, {})
    life.keep_documents()
    other = WorldParty()
    order = sign(
        life.world.order([life.data, life.world.register_data(other)], life.bundle), life.world.owner.key, other.key
    )
    life.act("common order", lambda: life.world.accept(order))
    life.owner.keep_document("orders", JobId.of(order.digest), order)
    spent = 2 * PRICE + REPORT  # of the first order with two launches; the second order would be refused
    for least, missing in (
        (2 * PRICE + REPORT, None),
        (2 * PRICE, "whether all owners of a job let its provider"),
        (0, ""),
    ):
        told, _ = life.tried({"max_bits": spent + least, "refusal_report": "classes", "answers_total": 0})
        if missing is None:
            assert "common order" not in told
        elif missing:
            assert (told["common order"].verdict, told["common order"].missing[0].startswith(missing)) == (
                "unjudged",
                True,
            )
        else:
            assert told["common order"].verdict == "refused"


def test_what_a_co_owner_refused_stays_refused(tmp_path: Path) -> None:
    life = Life(tmp_path, {}, {})
    life.keep_documents()
    other = WorldParty()
    theirs = life.world.register_data(other, max_trainers=1)
    order = sign(life.world.order([life.data, theirs], life.bundle), life.world.owner.key, other.key)
    life.act("common order", lambda: life.world.accept(order))
    assert life.became["common order"] == "policy.slots"
    life.owner.keep_document("orders", JobId.of(order.digest), order)
    assert "common order" not in life.tried({"max_trainers": 64})[0]


@pytest.mark.parametrize(
    ("then", "now", "allowed", "missing"),
    [
        ({"max_trainers": 2}, {}, {"second order"}, {}),
        ({"max_trainers": 2}, {"max_trainers": 1}, set(), {}),
        ({"max_trainers": 2}, {"max_jobs": 1}, set(), {}),
        ({"max_attempts": 1}, {}, set(), {"the machine behind a quote": 1, FOLLOWED: 2}),
        ({"answers_total": 30}, {}, {"more answers"}, {}),
        (
            {"answers_total": 30},
            {"max_bits": 9 * PRICE},
            set(),
            {BITS: 1, "how many bits left before it": 1, FOLLOWED: 1},
        ),
        ({"users": (OTHERS,)}, {}, {"answers"}, {FOLLOWED: 1}),
    ],
)
def test_what_was_refused_for_the_policys_sake_may_be_allowed(
    live: Callable[..., Life], then: Terms, now: Terms, allowed: set[str], missing: dict[str, int]
) -> None:
    told, end = live(then).tried(now)
    assert {name for name, one in told.items() if one.verdict == "allowed"} == allowed
    assert end.missing == missing
    assert "wrong code" not in told  # no policy has a say in it
    if allowed and not missing:
        assert all(live(now).became[name] == "done" for name in allowed)


def test_what_anothers_terms_refused_stays_refused(live: Callable[..., Life]) -> None:
    life = live({}, {"users": (OTHERS,), "owners": ()})
    assert life.became["answers"] == "policy.provider_terms"
    assert life.tried({"answers_total": 10**6})[0] == {}


def test_a_machine_matters_only_where_the_terms_ask_more_of_it(live: Callable[..., Life]) -> None:
    life = live({})
    _, asks_more = life.tried({"tcb": TcbTerms(denied_fmspcs=(Fmspc("00" * 6),))})
    assert (asks_more.unjudged, asks_more.missing) == (4, {"the machine behind a quote": 4})
    _, asks_less = life.tried({"tcb": TcbTerms(min_tcb_evaluation=0)})
    assert asks_less.unjudged == 0


def test_without_the_documents_it_says_which_are_missing(tmp_path: Path) -> None:
    life = Life(tmp_path, {"max_trainers": 2}, {})
    told, end = life.tried({"bundles": (DIGEST,), "users": (life.world.user.party,)})
    assert end.refused == end.allowed == 0
    assert told["order"].missing == ("the bundle's publication", "the order")
    assert told["launch"].missing == ("the machine behind a quote",)
    assert told["second order"].missing == ("the version that was in force",)
    assert end.missing["the version that was in force"] == 1
    forged = sign(life.world.order(life.data, life.bundle, trainers=1), life.world.owner.key)
    for order in life.orders:  # another document under the name of the order is not the order
        life.owner.keep_document("orders", JobId.of(order.digest), forged)
    assert life.tried({"min_trainers": 2})[0]["order"].missing == ("the order",)


@pytest.mark.parametrize(
    ("terms", "refused"),
    [
        ("allow: {}", set()),
        (f"allow: {{owners: [{OTHERS}]}}", {"order", "second order"}),
        (f"where: {{releases: [{DIGEST}]}}", {"order", "second order"}),
        (f"where: {{measurements: [{MEASUREMENTS['trainer']}, {MEASUREMENTS['query']}]}}", {"server"}),
    ],
)
def test_a_provider_tries_its_terms(live: Callable[..., Life], tmp_path: Path, terms: str, refused: set[str]) -> None:
    life, file = live({}), tmp_path / "terms.yaml"
    file.write_text(f"policy: bundle\n{terms}\nuntil: 2099-01-01\nanswering: {{answers: 1000}}\n")
    life.provider.keep_document("policies", life.bundle.root, life.bundle.terms)
    log = Keeper(life.world, life.provider).keep("log")
    told = [one for one in try_policy(life.provider, str(file), log) if isinstance(one, DecisionTried)]
    assert {life.entries[one.entry.number] for one in told if one.reasons} == refused
    assert {reason.code for one in told for reason in one.reasons} <= {"policy.provider_terms"}


def test_a_provider_tries_fewer_answers(live: Callable[..., Life], tmp_path: Path) -> None:
    life, file = live({}), tmp_path / "terms.yaml"
    file.write_text("policy: bundle\nuntil: 2099-01-01\nanswering: {answers: 40}\n")
    life.provider.keep_document("policies", life.bundle.root, life.bundle.terms)
    log = Keeper(life.world, life.provider).keep("log")
    [told] = [one for one in try_policy(life.provider, str(file), log) if isinstance(one, DecisionTried)]
    assert (life.entries[told.entry.number], told.reasons[0].seen) == ("more answers", "10")


def test_a_providers_answers_count_over_all_models_of_its_bundle(tmp_path: Path) -> None:
    """As the broker counts them: 60 answers of one model, then 30 of another."""
    life, file = Life(tmp_path, {}, {}), tmp_path / "terms.yaml"
    world = life.world
    job_id = world.start_job(life.data, life.bundle)
    model = world.finish(job_id)
    placed = world.launch(QUERY, job_id)
    life.act("other model", lambda: world.draw(placed, world.grant(model), 30))
    file.write_text("policy: bundle\nuntil: 2099-01-01\nanswering: {answers: 80}\n")
    life.provider.keep_document("policies", life.bundle.root, life.bundle.terms)
    log = Keeper(world, life.provider).keep("log")
    [told] = [one for one in try_policy(life.provider, str(file), log) if isinstance(one, DecisionTried)]
    assert (life.entries[told.entry.number], told.reasons[0].seen) == ("other model", "20")


def test_the_data_set_is_named_where_there_are_several(tmp_path: Path) -> None:
    life = Life(tmp_path, {}, {})
    life.keep_documents()
    life.world.register_data()
    log = Keeper(life.world, life.owner).keep("log")
    with pytest.raises(NotFoundError, match="not_found.dataset"):
        list(try_policy(life.owner, _file(tmp_path, life), log))
    with pytest.raises(NotFoundError, match="not_found.dataset"):
        list(try_policy(life.owner, _file(tmp_path, life), log, TRIED))
    assert list(try_policy(life.owner, _file(tmp_path, life), log, life.data.dataset_id))


def test_what_a_recovered_data_set_was_charged_before_is_not_guessed(tmp_path: Path) -> None:
    lost = RecoveryWorld(tmp_path)
    new = lost.new_machine()
    lost.recover(new)
    new.start_job(lost.data, new.register_bundle())
    owner = identity_directory(new, new.owner, tmp_path / "owner")
    for most, verdict in ((0, "refused"), (1, "unjudged")):
        policy = sign(new.policy_terms(new.owner, max_jobs=most), new.owner.key)
        owner.keep_document("policies", TRIED, policy)
        told = [
            one for one in try_policy(owner, TRIED, Keeper(new, owner).keep("log")) if isinstance(one, DecisionTried)
        ]
        assert [(one.entry.decision, one.verdict) for one in told] == [("accept-order", verdict)]
    assert "what was charged at the key broker that it came from" in told[0].missing


def _file(directory: Path, life: Life) -> str:
    file = directory / "policy.yaml"
    allowed = f"allow: {{providers: [{life.world.provider.party}]}}\n"
    file.write_text(f"policy: data\n{allowed}until: 2099-01-01\nat_most: {{jobs: 1}}\nanswering: {{answers: 60}}\n")
    return str(file)


def test_the_command_tells_it_to_people_and_programs(live: Callable[..., Life], tmp_path: Path) -> None:
    life = live({})
    log = Keeper(life.world, life.owner).keep("log")
    words = ["policy", "try", _file(tmp_path, life), "--against", str(log), "--home", str(life.owner.directory.parent)]
    told = [json.loads(line) for line in CliRunner().invoke(main, [*words, "--json"]).stdout.splitlines()]
    assert [one["type"] for one in told] == ["log-verified", "decision-tried", "policy-tried"]
    assert told[1]["reasons"] == [
        {"code": "policy.jobs", "field": "max_jobs", "expected": "at most 1 jobs", "seen": "2"}
    ]
    shown = CliRunner().invoke(main, words, env={"COLUMNS": "200"}).output
    assert "policy.jobs, by max_jobs" in shown
    assert "1 decisions would differ" in shown


def test_rules_refuse_with_the_codes_that_they_state(live: Callable[..., Life]) -> None:
    policy = live({}).world.policy_terms(live({}).world.owner)
    assert isinstance(policy, DataPolicy)
    for decision, role in (("accept-order", None), ("admit-launch", "trainer"), ("draw-budget", "query")):
        rules = rules_of(policy, decision, role)
        assert all(hasattr(policy, rule.field) and rule.codes for rule in rules)
    assert rules_of(policy, "update-policy", None) == ()


def test_refusals_that_are_told_together_are_not_judged(tmp_path: Path) -> None:
    life = Life(tmp_path, {}, {})
    for number in range(12):
        life.act(f"order {number}", lambda: life.order(trainers=9))
    life.act("together", lambda: life.world.core.rest(life.world.time))
    life.keep_documents()
    told, _ = life.tried({"max_trainers": 9})
    assert (told["together"].verdict, told["together"].missing) == (
        "unjudged", ("each of the refusals that are told together",),
    )  # fmt: skip
    assert told["together"].entry.further is not None


def test_what_is_not_held_answers_no_question() -> None:
    fact: Any = NotHeld("the order")
    for ask in (lambda: fact in (1, 2), lambda: fact < 3, lambda: fact > 3, lambda: set(fact), lambda: fact.rank):
        with pytest.raises(NotHeldError, match="the order"):
            ask()
