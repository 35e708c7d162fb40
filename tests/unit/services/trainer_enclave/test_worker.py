import time

import pytest
from kombu.exceptions import OperationalError

from common.untrusted.task_queue import make_task_queue
from services.trainer_enclave.worker import broker_answers


def test_a_rabbitmq_that_is_not_there_is_noticed_at_once() -> None:
    """Whoever asks for readiness waits for this: the supervisor too, which restarts other services meanwhile."""
    begun = time.monotonic()
    with pytest.raises(OperationalError):
        broker_answers(make_task_queue("amqp://127.0.0.1:1/"))
    assert time.monotonic() - begun < 1.0
