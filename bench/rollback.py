"""What does a lying host gain by what is old? (side: owner)

Each *kind* is a scene in this process: real documents, quotes, ciphers, and the code of the service that takes the old
thing; the worlds of tests/fakes stand for parties and host. Something genuine is superseded, used up, revoked or over;
then it is shown again, and again after a start of the service where that could matter. It must be refused as old, or
change nothing where an answer is given again. Each scene ends with the newest of its kind being taken: else refusals
would show nothing. `tests/security/test_attack_rollback.py` plays the same table, shorter.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rollback_checkpoints import checkpoints
from bench.rollback_collateral import collateral
from bench.rollback_documents import inventories, orders, policies, releases, revocations, shown_inventories, terms
from bench.rollback_exchange import fenced, frames
from bench.rollback_hub import hub_frames
from bench.rollback_ingest import orders as ingest_orders
from bench.rollback_launches import attempts, replies
from bench.rollback_queries import placements, queries
from bench.rollback_requests import attestation_requests, ingest_requests, query_requests
from bench.rollback_states import broker_logs, broker_states
from bench.rollback_tally import Tally


@dataclass(frozen=True)
class Kind:
    """One way to roll back. `length` is that of the history which a scene makes before it looks back."""

    service: str
    play: Callable[[Path, int], Tally]
    length: int


KINDS: Final = {
    "broker states": Kind("attestation, witness", broker_states, 30),
    "broker logs": Kind("attestation, witness, auditor", broker_logs, 12),
    "collateral": Kind("attestation", collateral, 9),
    "attempts": Kind("attestation", attempts, 7),
    "checkpoints": Kind("attestation, parameter server", checkpoints, 8),
    "broker replies": Kind("trainer, parameter server, query enclave", replies, 7),
    "orders": Kind("attestation", orders, 10),
    "releases": Kind("attestation", releases, 6),
    "policies": Kind("attestation", policies, 10),
    "terms": Kind("attestation", terms, 10),
    "revocations": Kind("attestation", revocations, 8),
    "inventories": Kind("attestation", inventories, 8),
    "shown inventories": Kind("attestation to party, witness", shown_inventories, 8),
    "frames": Kind("parameter server, trainer", frames, 5),
    "fenced members": Kind("parameter server, trainer", fenced, 5),
    "queries": Kind("query enclave, user", queries, 20),
    "placements": Kind("query enclave, user", placements, 8),
    "requests": Kind("ingest", ingest_requests, 20),
    "attestation requests": Kind("attestation", attestation_requests, 20),
    "query requests": Kind("query front", query_requests, 12),
    "hub": Kind("parameter server, trainer", hub_frames, 6),
    "ingest orders": Kind("ingest", ingest_orders, 6),
}


@dataclass(frozen=True)
class RollbackFigures:
    """What was tried and believed, in all and tried by kind. `rollback_problems` names what was believed, and what was
    refused for another reason than its age: that shows nothing.
    """

    rollback_tried: int
    rollback_accepted: int
    rollback_by_kind: dict[str, int]
    rollback_problems: tuple[str, ...]


def measure_rollback() -> RollbackFigures:
    """Play all kinds."""
    tallies = {}
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory(prefix="cloister-rollback-") as directory:
            tallies[name] = kind.play(Path(directory), kind.length)
    return RollbackFigures(
        sum(one.tried for one in tallies.values()),
        sum(len(one.accepted) for one in tallies.values()),
        {name: one.tried for name, one in tallies.items()},
        tuple(f"{name}: {what}" for name, one in tallies.items() for what in (*one.accepted, *one.odd)),
    )
