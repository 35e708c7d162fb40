"""Orders from earlier, at the ingest service (side: owner)."""

import secrets
import time
from pathlib import Path

from bench.rollback_tally import Tally
from common.identifiers import JobId
from common.messages.service import OrderReceipt
from common.messages.signed import Signed
from services.ingest.submission import Submission
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.ingest_world import IngestWorld, register_bundle, register_dataset, signed_order


def orders(directory: Path, length: int) -> Tally:
    """Orders that were taken, from the queue again and by HTTP again, while their jobs run and after they ended: no
    second job. Orders that are over.
    """
    broker, tally = BrokerWorld(directory / "broker"), Tally()
    world = IngestWorld(directory, broker)
    owner, ingest = Party(), world.ingest
    submission = Submission(ingest.registry, ingest.board, world.route, on_accepted=lambda: None)  # the queue's way
    client = world.client(owner)
    bundle = register_bundle(broker, world.client(broker.provider), broker.provider)
    taken = list[Signed]()
    for _ in range(length):
        data = register_dataset(broker, client, owner)
        taken.append(signed_order(broker, data, bundle))
        OrderReceipt.decode(client.submit(taken[-1]).content)
        overdue = signed_order(broker, data, bundle, not_after=int(time.time()) - 1, nonce=secrets.token_bytes(16))
        tally.refuses("an overdue order", "freshness.order", submission.submit, overdue.encode())

    def state() -> object:
        return [(job.job_id, job.state) for job in ingest.board.jobs_of(owner.party)], broker.head

    for ended in (False, True):
        for number, order in enumerate(taken):
            what = f"order {number}, {'ended' if ended else 'running'}"
            if ended:
                client.post(f"/v1/jobs/{JobId.of(order.digest)}/cancel")
            tally.unmoved(f"{what}, from the queue", state, submission.submit, order.encode())
            tally.unmoved(f"{what}, by HTTP", state, client.submit, order)
    return tally
