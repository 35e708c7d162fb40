"""TorchServe's handler (side: library): batches as TorchServe makes them."""

from typing import Any

from engine import Engine


class Handler:
    """One worker's model."""

    def initialize(self, _context: Any) -> None:
        self.engine = Engine()

    def handle(self, data: list[dict[str, bytearray]], _context: Any) -> list[list[float]]:
        return self.engine.scores([bytes(one["body"]) for one in data])
