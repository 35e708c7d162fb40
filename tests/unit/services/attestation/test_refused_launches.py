"""The operator's log says what was seen of its own machine, and nothing of anybody's terms."""

import json
import logging
from typing import Any

import pytest

from common.errors import Refusal
from common.messages.admission import Admit
from common.messages.broker_exchange import BrokerRequest
from common.messages.tcb_terms import TcbTerms
from services.attestation.refused_launches import log_refused_launch
from tests.fakes.broker_world import MEASUREMENTS, TRAINER, BrokerWorld
from tests.unit.services.attestation.test_reasons import OTHER_CODE, UNWANTED


class Host:
    """It carries requests, and logs what the service would."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world, self.answers = world, list[bytes]()

    def carry(self, raw: bytes) -> bytes:
        answer = self.world.handle(raw)
        log_refused_launch(BrokerRequest.decode(raw).body, answer)
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
    log_refused_launch(admit, b"no reply")
    assert events(caplog) == []
