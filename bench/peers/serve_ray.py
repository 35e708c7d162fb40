"""Ray Serve with dynamic request batching (side: library)."""

import os
import sys
import threading

import ray
from engine import BATCH_SECONDS, MAX_BATCH, Engine
from ray import serve
from starlette.requests import Request


@serve.deployment(
    num_replicas=int(os.environ["SERVE_WORKERS"]), max_ongoing_requests=4 * MAX_BATCH, ray_actor_options={"num_cpus": 1}
)
class Served:
    """One replica's model."""

    def __init__(self) -> None:
        self.engine = Engine()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_SECONDS)
    async def predict(self, rows: list[bytes]) -> list[list[float]]:
        return self.engine.scores(rows)

    async def __call__(self, request: Request) -> list[float]:
        return await self.predict(await request.body())


if __name__ == "__main__":
    ray.init(num_cpus=int(os.environ["SERVE_WORKERS"]) + 1, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Served.bind(), route_prefix="/predict")
    threading.Event().wait()
