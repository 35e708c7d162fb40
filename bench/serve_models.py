"""Models that `./cloister bench serve` asks, each as a provider would write it (side: owner).

One row a query, for that is what a user has who asks about an image. The null model reads a corner of its image: what
it is asked through costs everything, and the computing nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.measuring import CODE_ROOT

RESNET20: Final = CODE_ROOT / "examples" / "providers" / "resnet20_cifar"
NULL: Final = Path(__file__).parent / "null_model"
EXAMPLES: Final = 64
"""Of the job that makes a model: it is asked how fast it answers, not how well."""


@dataclass(frozen=True)
class ServedModel:
    """Rows of `shape`, uint8. `computes`: whether an engine matters."""

    name: str
    source: Path
    shape: tuple[int, int, int]
    computes: bool

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Ten scores."""
        return (10,)

    def write_bundle(self, directory: Path) -> Path:
        """The provider's directory, for one row a query and this shape."""
        directory.mkdir(parents=True)
        for file in self.source.glob("*.py"):
            (directory / file.name).write_bytes(file.read_bytes())
        described = (self.source / "provider.toml").read_text()
        described = described.replace("query_rows = 16", "query_rows = 1")
        described = described.replace("shape = [3, 32, 32]", f"shape = {list(self.shape)}")
        (directory / "provider.toml").write_text(described)
        return directory

    def rows(self, count: int, seed: int = 0) -> NDArray[np.uint8]:
        """Images [N, ...]: noise, which costs as much as a picture."""
        return np.random.default_rng(seed).integers(0, 256, (count, *self.shape), dtype=np.uint8)

    def write_data(self, file: Path) -> Path:
        """A training file."""
        labels = np.random.default_rng(1).integers(0, 10, EXAMPLES)
        np.savez(file, image=self.rows(EXAMPLES), label=labels)
        return file


MODELS: Final = {
    one.name: one
    for one in (
        ServedModel("resnet20", RESNET20, (3, 32, 32), computes=True),
        ServedModel("null", NULL, (3, 32, 32), computes=False),
        ServedModel("null_150kb", NULL, (3, 224, 224), computes=False),
    )
}
