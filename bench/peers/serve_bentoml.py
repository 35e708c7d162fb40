"""BentoML with adaptive batching (side: library). `bentoml serve serve_bentoml:Served`."""

import base64
import os

import bentoml
from engine import MAX_BATCH, Engine


@bentoml.service(workers=int(os.environ["SERVE_WORKERS"]), traffic={"timeout": 60, "concurrency": MAX_BATCH})
class Served:
    """One worker's model."""

    def __init__(self) -> None:
        self.engine = Engine()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=MAX_BATCH, max_latency_ms=1000)
    def predict(self, images: list[str]) -> list[list[float]]:
        return self.engine.scores([base64.b64decode(one) for one in images])
