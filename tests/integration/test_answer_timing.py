"""Answers that leave when they are ready: a graph's may, provider code's may not, in a real enclave process."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from common.errors import PolicyError
from common.identifiers import GrantId
from common.leakage import AnswerSize, answer_bits
from common.messages.objects import ModelManifest
from services.attestation.ledger import ANSWER_BITS, ANSWERS, tally_of
from services.query_enclave.departures import GRAPH_QUANTUM_SECONDS
from tests.conftest import Broker
from tests.fakes.exported_graphs import linear_graph
from tests.fakes.in_memory_job import FEATURES
from tests.fakes.query_service import QueryService
from tests.fakes.training_world import small_bundle

TRIES = 400
"""Answers of which one comes within the quantum, on a machine that is busy with other things."""


def test_a_graphs_answer_is_there_before_a_quantum_is_over(tmp_path: Path, redis_server: Broker) -> None:
    contents = small_bundle()
    document = json.dumps(linear_graph(contents.manifest)).encode()
    with QueryService(tmp_path, redis_server.url, contents, document, "immediate").running() as service:
        grant = service.world.grant(service.model.manifest, answers=2 * TRIES)
        session = service.session(grant)
        assert (session.profile.answered_by, session.profile.answer_timing) == ("graph", "immediate")
        rows, took = np.ones((1, FEATURES), np.float32), list[float]()
        while len(took) < TRIES and min(took, default=1.0) >= GRAPH_QUANTUM_SECONDS:
            began = time.monotonic()
            session.ask(rows)
            took.append(time.monotonic() - began)
        assert min(took) < GRAPH_QUANTUM_SECONDS  # a padded one takes longer: test_query_batches asks for those
        drawn = service.world.context.state.tally(tally_of(ANSWERS, GrantId.of(grant.digest)))
        assert drawn >= len(took)
        require_charged(service, drawn)


def require_charged(service: QueryService, drawn: int) -> None:
    """The broker charged so many answers as ones that can leave at any microsecond."""
    output = service.model.contents.manifest.answer
    each = answer_bits(AnswerSize(math.prod(output.shape), output.row_bytes), "scores", timing="immediate")
    (dataset_id,) = ModelManifest.decode(service.model.manifest.payload).datasets
    assert service.world.context.state.tally(tally_of(ANSWER_BITS, dataset_id)) == drawn * each


def test_provider_code_is_refused_and_says_so_to_the_user_alone(tmp_path: Path, redis_server: Broker) -> None:
    with QueryService(tmp_path, redis_server.url, answer_timing="immediate").running() as service:
        with pytest.raises(PolicyError, match=r"policy\.answer_timing"):
            service.session()
        assert service.placements.failures == {}
