"""What the demo asks before it believes its own job."""

import pytest

from client import events as e
from client.demo import require_learned
from common.errors import UnavailableError
from common.identifiers import Digest, JobId, ModelId
from common.messages.policy import JobOutcome

SEALED = e.ModelSealed(
    job_id=JobId("job_" + "1" * 32),
    model_id=ModelId("model_" + "1" * 32),
    manifest=Digest("2" * 64),
    outcome="finished",
    rounds_done=20,
    trust_level="simulation",
)


@pytest.mark.parametrize(("outcome", "code"), [("failed", "unavailable.rounds"), (None, "unavailable.report")])
def test_a_model_of_which_nobody_says_that_it_learned_is_not_asked(outcome: JobOutcome | None, code: str) -> None:
    """It may be all zeros. A job without a last report must not pass for one that went well."""
    with pytest.raises(UnavailableError, match=code):
        require_learned(SEALED.model_copy(update={"outcome": outcome, "rounds_done": None}))


def test_a_model_that_learned_is_asked() -> None:
    require_learned(SEALED)
    require_learned(SEALED.model_copy(update={"outcome": "finished_short", "rounds_done": 3}))
