"""A policy in plain English, with the bits that can leave by it."""

from client.policy_terms import NOBODY, PolicyTerms, ProviderTerms, RecoveryWishes
from client.policy_words import Assumed, bits_of, sentences
from common.identifiers import Digest, HexBytes48, PartyKey
from common.leakage import AnswerSize, answer_bits
from common.messages.answer_bounds import AnswerBounds
from common.messages.tcb_terms import Exposure, TcbStatus, TcbTerms, TcbTolerance

PROVIDER, USER = PartyKey("a" * 64), PartyKey("b" * 64)
TERMS = PolicyTerms(
    providers=(PROVIDER,), bundles=(Digest("c" * 64),), columns=("image", "label"), users=(USER,), answers_total=100,
    detail="label", max_jobs=2, max_trainers=3, max_attempts=4, not_after=1_814_399_999,
    tcb=TcbTerms(
        tolerances=(TcbTolerance(status=TcbStatus.OUT_OF_DATE, until=1_801_439_999),), smt=False,
        rejected_advisories=("INTEL-SA-00837",),
    ),
    approvers=(USER,), approvals_needed=1, max_state_class=4096,
)  # fmt: skip


def text(terms: PolicyTerms | ProviderTerms, assumed: Assumed = Assumed()) -> str:  # noqa: B008 - frozen
    return " ".join(sentences(terms, assumed))


def test_it_says_what_the_terms_say() -> None:
    said = text(TERMS)
    for part in (
        PROVIDER, USER, "c" * 64, "image, label", "4,096 float32 values", "At most 2 jobs, of 1 to 3 trainers",
        "at most 4 times", "native", "100 answers", "the label alone", "may not ask it", "OutOfDate is tolerated until",
        "2027-01-31 23:59 UTC", "smt false", "INTEL-SA-00837", "until 2027-06-30 23:59 UTC", "its owner and 1 of",
    ):  # fmt: skip
        assert part in said, part


def test_what_lies_open_is_shouted() -> None:
    assert "DANGEROUS" not in text(TERMS)
    domain = HexBytes48("5a" * 48)
    for exposure, words in (
        (Exposure.DEBUG, "read and change all memory"), (Exposure.SEPT_VE, "take pages away"),
        (Exposure.PROFILING, "measure a trust domain"), (Exposure.MIGRATION, "have a service domain move it"),
    ):  # fmt: skip
        said = text(
            TERMS.model_copy(update={"tcb": TcbTerms(dangerously_allow=(exposure,), service_domains=(domain,))})
        )
        assert f"DANGEROUS: whoever runs the host may {words}" in said
        assert domain in said


def test_one_is_no_plural() -> None:
    said = text(TERMS.model_copy(update={"max_jobs": 1, "max_trainers": 1, "max_attempts": 1}))
    assert "At most 1 job, of 1 to 1 trainer, each started at most 1 time in a job." in said


def test_refusal_by_default_is_said() -> None:
    said = text(NOBODY)
    assert "Nobody may train on this data." in said
    assert "Nobody may ask" in said
    assert bits_of(NOBODY, Assumed()).most == 0


def test_who_can_bring_the_key_back_is_said() -> None:
    wishes = RecoveryWishes(holders=(PROVIDER, USER), of_operator=(USER,), needed=2)
    said = text(NOBODY.model_copy(update={"recovery": wishes}))
    assert f"2 of {PROVIDER}, {USER}; {USER} are the operator's" in said
    assert "nobody brings the data key back" in text(NOBODY)
    assert "key broker" not in text(ProviderTerms())


def test_a_providers_terms() -> None:
    said = text(ProviderTerms(answers_total=5))
    assert "Any owner may train" in said
    assert "5 answers over all models of this bundle" in said


def test_bits_are_answers_and_attempts() -> None:
    bits = bits_of(TERMS, Assumed(classes=10, ticks=300))
    label = answer_bits(AnswerSize(10, 40), "label")
    assert (bits.per_answer, bits.answers) == (label, 100 * label)
    assert bits.attempts == 2 * 3 * 4 * (300 + 9)
    assert bits.most == 100 * label + 7416
    assert f"at most {bits.most:,} bits leave" in text(TERMS, Assumed(classes=10, ticks=300))


def test_bounds_of_answers_are_said_and_counted() -> None:
    bounds = AnswerBounds(top=3, decimals=2, queries_per_minute=60)
    terms = TERMS.model_copy(update={"detail": "scores", "answer_bounds": bounds})
    said = text(terms, Assumed(classes=10))
    assert "each tells the label and the 3 largest scores, as confidences rounded to 2 decimals" in said
    assert "at most 60 queries a minute of one user" in said
    assert bits_of(terms, Assumed(classes=10)).per_answer == answer_bits(AnswerSize(10, 40), "scores", bounds)
    labels = TERMS.model_copy(update={"answer_bounds": AnswerBounds(queries_per_minute=5)})
    assert "the label alone; at most 5 queries a minute" in text(labels)


def test_what_a_provider_is_told_is_said_and_counted() -> None:
    assert "its provider is told what everybody sees" in text(TERMS)
    tells, assumed = TERMS.model_copy(update={"refusal_report": "classes"}), Assumed(classes=10, ticks=300)
    assert "which classes of calls its code was refused, if all owners" in text(tells)
    assert "charged 26 bits at most, 13 a job" in text(tells)
    assert bits_of(tells, assumed).most == (bits_of(TERMS, assumed).most or 0) + 2 * 13
    assert "provider is told" not in text(ProviderTerms())


def test_what_is_not_known_is_not_made_up() -> None:
    scores = TERMS.model_copy(update={"detail": "scores"})
    assert bits_of(scores, Assumed(ticks=1)).most is None
    assert "say --classes" in text(scores)
    assert "say --ticks" in text(TERMS)
    assert bits_of(TERMS, Assumed()).per_answer == answer_bits(AnswerSize(1 << 32, 1), "label")
    assert "however many classes there are: say --classes" in text(TERMS)
    assert "however many" not in text(TERMS, Assumed(classes=10))


def test_the_policys_own_limit_counts() -> None:
    limited = TERMS.model_copy(update={"max_bits": 50})
    assert bits_of(limited, Assumed()).most == 50
    assert bits_of(limited, Assumed(10, 300)).most == 50
    assert bits_of(TERMS.model_copy(update={"max_bits": 10**9}), Assumed(10, 300)).most == 100 * 11 + 7416
