"""LitServe with batching, an image as base64 in JSON as its guide to speed has it (side: library)."""

import base64
import os
import sys
from typing import Any

import litserve
from engine import BATCH_SECONDS, MAX_BATCH, Engine


class Served(litserve.LitAPI):
    """One worker's model."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - there is one device
        self.engine = Engine()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, rows: list[bytes]) -> list[list[float]]:
        return self.engine.scores(rows)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"scores": output}


if __name__ == "__main__":
    api = Served(max_batch_size=MAX_BATCH, batch_timeout=BATCH_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["SERVE_WORKERS"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
