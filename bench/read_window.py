"""What reading sealed data through a window costs a trainer: memory, and time that training waits (side: owner).

Rows of CIFAR-10's shape are sealed as an owner seals them, from files that are mapped and not loaded, into an object
store; this process is the relay and the trainer's code runs behind a door (`bench.read_trainer`), planned for its data
as an order is. Everything lies in a temporary directory and is removed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import click
import numpy as np

from client import owner
from client.events import Sealed, outcome
from client.objects import read_reference
from client.scheduling import ScheduleWishes
from common.door import Door
from common.messages.objects import ObjectRef
from common.untrusted.blobs import BlobStore
from common.untrusted.relay import common_handlers

ROW_BYTES: Final = 3 * 32 * 32 + 8
_GIB: Final = 1 << 30

BARS: Final = {"peak_mib": 2048, "wait_share": 0.05}
"""The most that a figure may be: memory of a job over 5 GB of data; share of its rounds' time that data may cost it."""


@dataclass
class _KeyKeeper:
    """A party, as far as sealing needs one."""

    key: Any = None

    def keep_key(self, _root: str, key: Any) -> None:
        """Remember it."""
        self.key = key


def write_columns(directory: Path, rows: int) -> None:
    """Columns as files. Images are zeros that take no space; nothing here depends on what is in them."""
    directory.mkdir()
    form = np.lib.format.open_memmap
    form(directory / "image.npy", mode="w+", dtype=np.uint8, shape=(rows, 3, 32, 32)).flush()
    labels = form(directory / "label.npy", mode="w+", dtype=np.int64, shape=(rows,))
    labels[:] = np.arange(rows) % 10
    labels.flush()


def sealed_store(place: Path, rows: int) -> tuple[BlobStore, ObjectRef, bytes, float]:
    """A store with the sealed rows, their reference and key, and the seconds that sealing took."""
    party: Any = _KeyKeeper()
    write_columns(place / "columns", rows)
    begin = time.monotonic()
    outcome(owner.seal(party, place / "columns", place / "sealed"), Sealed)
    seconds = time.monotonic() - begin
    reference, store = read_reference(place / "sealed"), BlobStore(place / "store")
    target = place / "store" / "objects" / reference.root[:2] / reference.root
    target.parent.mkdir(parents=True)
    shutil.move(place / "sealed", target)
    store.header_proof(reference.root)
    return store, reference, party.key._raw, seconds  # noqa: SLF001 - a key of this bench's own


def trained(place: Path, store: BlobStore, reference: ObjectRef, key: bytes, wishes: ScheduleWishes) -> dict[str, Any]:
    """Run the trainer to its end. Raises `RuntimeError` where it left no figures."""
    settings = {
        "root": reference.root, "chunk_count": reference.chunk_count, "key": key.hex(), "wishes": asdict(wishes),
        "figures": str(place / "figures.json"),
    }  # fmt: skip
    (place / "settings.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "bench.read_trainer", str(place / "settings.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        reader, writer = cast("BinaryIO", process.stdout), cast("BinaryIO", process.stdin)
        Door(reader, writer, common_handlers(store, None)).serve()
    if process.returncode or not (place / "figures.json").is_file():
        raise RuntimeError(f"the trainer ended with {process.returncode}")
    figures: dict[str, Any] = json.loads((place / "figures.json").read_text())
    return figures


def missed(figures: dict[str, Any]) -> list[str]:
    """Which bars these figures miss."""
    return [name for name, most in BARS.items() if figures[name] > most]


@click.command()
@click.option(
    "--gib", type=click.FloatRange(min=0.6), default=5.0, show_default=True, help="Sealed data: more than is kept."
)
@click.option("--rounds", default=30, show_default=True)
@click.option("--steps", default=8, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def reads(gib: float, rounds: int, steps: int, batch: int, json_file: Path | None) -> None:
    """Train over sealed data that are larger than memory may be, and measure what reading them costs.

    Ends with status 1 where a bar is missed.
    """
    wishes = ScheduleWishes(rounds=rounds, steps=steps, batch=batch)
    with tempfile.TemporaryDirectory(prefix="cloister-reads-") as name:
        place = Path(name)
        store, reference, key, seconds = sealed_store(place, int(gib * _GIB) // ROW_BYTES)
        figures = {"seal_seconds": seconds, **trained(place, store, reference, key, wishes)}
    over = missed(figures)
    for key_name, value in figures.items():
        click.echo(f"{key_name:20} {value:10.4g}{'  missed' if key_name in over else ''}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(1 if over else 0)
