"""The operator's log says what was seen of its own machine, and nothing of anybody's terms; answers are counted."""

import json
import logging
from typing import Any

import pytest

from common.errors import Refusal
from common.messages.admission import Admit
from common.messages.broker_exchange import BrokerRequest
from common.messages.tcb_terms import TcbTerms
from common.untrusted.metrics import REGISTRY
from services.attestation.noted_answers import note_answer
from tests.fakes.broker_world import MEASUREMENTS, TRAINER, BrokerWorld
from tests.unit.services.attestation.test_reasons import OTHER_CODE, UNWANTED


class Host:
    """It carries requests, and logs what the service would."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world, self.answers = world, list[bytes]()

    def carry(self, raw: bytes) -> bytes:
        answer = self.world.handle(raw)
        note_answer(BrokerRequest.decode(raw).body, answer, 0.25)
        self.answers.append(answer)
        return answer


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(one.getMessage()) for one in caplog.records if one.name == "attestation.launches"]


def launched(world: BrokerWorld, caplog: pytest.LogCaptureFixture, code: str, **changes: Any) -> list[dict[str, Any]]:
    caplog.set_level(logging.INFO)
    terms = changes.pop("policy", {})
    job_id = world.start_job(world.register_data(**terms))
    with pytest.raises(Refusal, match=code):
        world.launch(TRAINER, job_id, 1, ask=Host(world).carry, **changes)
    return events(caplog)


def test_code_that_the_release_does_not_name(world: BrokerWorld, caplog: pytest.LogCaptureFixture) -> None:
    [event] = launched(world, caplog, "appraisal.measurement", measurement=MEASUREMENTS["query"])
    assert (event["event"], event["code"], event["role"], event["slot"], event["attempt"]) == (
        "launch_refused", "appraisal.measurement", "trainer", 1, 1
    )  # fmt: skip
    assert event["shown"] == f"expected: {MEASUREMENTS['trainer']}; seen: {MEASUREMENTS['query']}"


@pytest.mark.parametrize(
    ("policy", "code", "secret"),
    [
        ({"tcb": UNWANTED}, "appraisal.platform", "denied"),
        ({"tcb": TcbTerms(min_tcb_evaluation=987_654)}, "appraisal.tcb_evaluation", "987654"),
        ({"measurements": (OTHER_CODE,)}, "policy.measurement", OTHER_CODE),
    ],
)
def test_a_machine_that_an_owners_terms_refuse(
    world: BrokerWorld, caplog: pytest.LogCaptureFixture, policy: dict[str, Any], code: str, secret: str
) -> None:
    [event] = launched(world, caplog, code, policy=policy)
    assert event["code"] == code
    assert event["shown"].startswith(f"seen: simulation, measurement {MEASUREMENTS['trainer']}, FMSPC c0ffee000000")
    assert secret not in json.dumps(event)


def test_what_is_granted_or_no_launch_logs_nothing(world: BrokerWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = world.register_data(max_attempts=1)
    job_id, host = world.start_job(data), Host(world)
    launch = world.launch(TRAINER, job_id, ask=host.carry)
    with pytest.raises(Refusal, match="policy.attempts"):
        world.launch(TRAINER, job_id, ask=host.carry)
    admit = Admit(challenge_id="challenge_" + "0" * 32, binding=launch.binding, evidence=launch.evidence)  # type: ignore[arg-type]
    note_answer(admit, b"no reply", 0.25)
    assert events(caplog) == []


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_answers_are_counted_by_code_and_timed_by_outcome(world: BrokerWorld) -> None:
    def seen() -> tuple[float, ...]:
        count, total = "cloister_attestation_seconds_count", "cloister_attestation_seconds_sum"
        return (
            counted(count, request="admit", outcome="granted"),
            counted(total, request="admit", outcome="granted"),
            counted(count, request="admit", outcome="refused"),
            counted("cloister_refusals_total", code="policy.attempts"),
        )

    before, host = seen(), Host(world)
    job_id = world.start_job(world.register_data(max_attempts=1))
    world.launch(TRAINER, job_id, ask=host.carry)
    with pytest.raises(Refusal, match="policy.attempts"):
        world.launch(TRAINER, job_id, ask=host.carry)
    granted, seconds, refused, by_code = (round(now - then, 6) for now, then in zip(seen(), before, strict=True))
    assert (granted, seconds) == (1, 0.25)
    assert by_code >= 1
    assert refused in {0, 1}  # attempts may be refused at the challenge already
