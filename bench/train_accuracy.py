"""What exchange in rounds costs in accuracy: N trainers against one plain process (side: owner).

ResNet-20 on CIFAR-10, or the small network of the demo on its digits, which converges within seconds. Every
configuration sees the same number of images, in rounds of the same number of steps and the same batch: N trainers share
them, so each makes an N-th of the plain process's steps. This is the exchange's arithmetic, not its processes: members
train one after the other in this process, by the toolchain of sandboxes; their rows are those of their slots
(RoundRows), deltas cross as DELTA payloads in bfloat16 with error feedback, the outer optimiser applies them, and a
member that goes ahead starts from its own estimate, as in a job. Frames, sealing and clock change no number. The plain
process has neither rounds nor deltas, and one optimiser from first to last step.

Top-1 in percent of rows that nothing was trained on, of the last state, means of the seeds.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click
import numpy as np

from bench import cifar10
from bench.train_twins import EXAMPLE, Steps
from client.digits import write_digits
from common.bundle_packing import read_bundle_directory
from common.crypto.keys import SecretKey
from common.exchange.payloads import DeltaEncoder, Figures, StateP
from common.exchange.toolchain import Toolchain, own_toolchain
from services.paramserver.aggregation import OuterOptimiser
from services.trainer_enclave.dataset import Columns, RoundRows

SEEDS: Final = (1, 2, 3)
TRAINERS: Final = (2, 4, 8)
TESTED_AT_ONCE: Final = 250


@dataclass(frozen=True)
class Subject:
    """What is trained on what: a provider's directory, rows to train on and rows to ask, and a round."""

    bundle: Path
    train: Columns
    test: Columns
    work: Steps


def _columns(images: cifar10.Images) -> Columns:
    return {"image": images[0], "label": images[1]}


def cifar(images: int, tested: int) -> Subject:
    """Rounds of 256 images: 39 in an epoch of 10,000."""
    parts = (cifar10.training_images(images), cifar10.held_out_images(tested))
    train, test = (_columns(one) for one in parts)
    return Subject(EXAMPLE, train, test, Steps(8, 32))


def digits() -> Subject:
    """Rounds of 64 images: 22 in an epoch of 1,438; 359 are asked."""
    with tempfile.TemporaryDirectory() as place:
        files = write_digits(Path(place))
        train, test = (dict(np.load(one, allow_pickle=False)) for one in (files.train, files.held_out))
    return Subject(EXAMPLE.with_name("digits_cnn"), train, test, Steps(4, 16))


@dataclass(frozen=True)
class Study:
    """How large it is: all images seen `epochs` times; `images` and `tested` of CIFAR-10.

    `rounds_ahead` and `outer_momentum`: as an order has them.
    """

    data: Literal["cifar10", "digits"] = "cifar10"
    images: int = 10_000
    epochs: int = 5
    seeds: tuple[int, ...] = SEEDS
    trainers: tuple[int, ...] = TRAINERS
    rounds_ahead: int = 1
    outer_momentum: float = 0.0
    tested: int = 10_000


class Member:
    """One trainer: the provider's module with its optimiser, its rows, the residual of its deltas."""

    def __init__(self, subject: Subject, seed: int, slot: int, trainers: int) -> None:
        from common.sandboxed.local_training import build_model
        from common.sandboxed.model_state import flatten_state

        description, _ = read_bundle_directory(subject.bundle)
        model: Any = build_model(description.entry, seed)
        self.model, self.initial_P, self._optimizer = model, flatten_state(model), model.configure_optimizers()
        key = SecretKey(seed.to_bytes(32, "big"))
        self._rows = RoundRows([subject.train], key, slot, trainers, subject.work.images)
        self._work = subject.work
        self._encoder = DeltaEncoder(self.initial_P.size)
        self._stream = seed * 1000 + slot
        self._ahead_P: StateP | None = None

    def train(self, number: int, *, bf16: bool) -> None:
        """One round's steps from wherever the module stands."""
        from common.sandboxed.local_training import seed_everything, train_steps

        seed_everything(self._stream + 100_000 * number)
        rows = self._rows.of_round(number)
        train_steps(self.model, self._optimizer, rows, self._work.steps, self._work.batch, bf16=bf16)

    def delta(self, number: int, state_P: StateP, ahead: int, *, bf16: bool) -> bytes:
        """The DELTA payload of a round; with `ahead`, from the round before's state and this member's own change."""
        from common.sandboxed.model_state import flatten_state, load_state

        start_P = state_P if self._ahead_P is None else self._ahead_P
        load_state(self.model, start_P)
        self.train(number, bf16=bf16)
        change_P = flatten_state(self.model) - start_P
        self._ahead_P = state_P + change_P if ahead else None
        return self._encoder.encode(change_P, Figures(None, self._work.steps, self._work.images))


def exchanged(subject: Subject, rounds: int, trainers: int, seed: int, study: Study, *, bf16: bool) -> Any:
    """The module with the state after so many rounds of so many trainers."""
    from common.sandboxed.model_state import load_state

    members = [Member(subject, seed, slot, trainers) for slot in range(trainers)]
    state_P = members[0].initial_P
    outer = OuterOptimiser(state_P.size, learning_rate=1.0, momentum=study.outer_momentum)
    for number in range(rounds):
        deltas = {slot: one.delta(number, state_P, study.rounds_ahead, bf16=bf16) for slot, one in enumerate(members)}
        result = outer.close_round(state_P, deltas)
        if len(result.contributors) != trainers:
            raise RuntimeError("a delta is not finite")
        state_P = result.state_P
    load_state(members[0].model, state_P)
    return members[0].model


def plainly(subject: Subject, rounds: int, seed: int, *, bf16: bool) -> Any:
    """The module after as many steps without any exchange."""
    alone = Member(subject, seed, 0, 1)
    for number in range(rounds):
        alone.train(number, bf16=bf16)
    return alone.model


def accuracy(model: Any, test: Columns) -> float:
    """Top-1 in percent, in float32, as models are served."""
    import torch

    images, labels = test["image"], test["label"]
    model.eval()
    with torch.inference_mode():
        parts = [model(torch.from_numpy(part)).argmax(1).numpy() for part in _parts(images)]
    return 100 * float((np.concatenate(parts) == labels).mean())


def _parts(images: Any) -> Sequence[Any]:
    return [images[at : at + TESTED_AT_ONCE] for at in range(0, len(images), TESTED_AT_ONCE)]


def measure_accuracy(study: Study) -> dict[str, Any]:
    """`accuracy_gap_N`: points that N trainers lose to the plain process; `_by_seed`, and `accuracy_plain`."""
    if study.data == "cifar10" and (reason := cifar10.missing()) is not None:
        return {"accuracy_left_out": reason}
    import torch

    torch.set_num_threads(1)
    subject = cifar(study.images, study.tested) if study.data == "cifar10" else digits()
    sys.path.insert(0, str(subject.bundle))
    seen = len(subject.train["label"]) * study.epochs // subject.work.images
    bf16 = own_toolchain() is Toolchain.BF16
    plain: dict[int, float] = {}
    gaps: dict[int, list[float]] = {trainers: [] for trainers in study.trainers}
    for seed in study.seeds:
        plain[seed] = accuracy(plainly(subject, seen, seed, bf16=bf16), subject.test)
        click.echo(f"seed {seed}, plain: {plain[seed]:.2f}")
        for trainers, lost in gaps.items():
            model = exchanged(subject, seen // trainers, trainers, seed, study, bf16=bf16)
            reached = accuracy(model, subject.test)
            lost.append(round(plain[seed] - reached, 2))
            click.echo(f"seed {seed}, {trainers} trainers: {reached:.2f}")
    told: dict[str, Any] = {"accuracy_data": study.data, "accuracy_plain": round(statistics.mean(plain.values()), 2)}
    for trainers, lost in gaps.items():
        told |= {f"accuracy_gap_{trainers}": round(statistics.mean(lost), 2)}
        told |= {f"accuracy_gap_{trainers}_by_seed": lost}
    return told | {"accuracy_images_seen": seen * subject.work.images, "accuracy_toolchain": "bf16" if bf16 else "fp32"}
