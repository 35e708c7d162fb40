"""What exchange in rounds costs in accuracy: N trainers against one plain process (side: owner).

ResNet-20 on CIFAR-10, or the small network of the demo on its digits, which converges within seconds. Every
configuration sees the same number of images in the same number of rounds, each of the same number of steps: where the
plain process takes a batch, N trainers take an N-th of one each, as who splits a job over more machines does to change
nothing else. This is the exchange's arithmetic, not its processes: members
train one after the other in this process, by the toolchain of sandboxes; their rows are those of their slots
(RoundRows), deltas cross as DELTA payloads in bfloat16 with error feedback, the outer optimiser applies them, and a
member that goes ahead starts from its own estimate, as in a job. Frames, sealing and clock change no number. The plain
process has neither rounds nor deltas, and one optimiser from first to last step. Every optimiser's rate is divided by
ten after half and after three quarters of the steps (He, Zhang, Ren, Sun, CVPR 2016, section 4.2, which does so after
32,000 and 48,000 of 64,000): at a steady rate a model's accuracy swings by several points from round to round, and
no gap of one point could be seen. Provider code does the same by a hook on its optimiser's steps.

Top-1 in percent of rows that nothing was trained on, of the last state, means of the seeds.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import click
import numpy as np

from bench import cifar10
from bench.train_twins import EXAMPLE, Steps
from client.digits import write_digits
from common.bundle import StateTensor, buffer_slices
from common.bundle_packing import measure_layout, read_bundle_directory
from common.crypto.keys import SecretKey
from common.exchange.going_ahead import next_start
from common.exchange.payloads import DeltaEncoder, Figures, StateP
from common.exchange.toolchain import Toolchain, own_toolchain
from services.paramserver.aggregation import OuterOptimiser
from services.trainer_enclave.dataset import Columns, RoundRows

SEEDS: Final = (1, 2, 3)
TRAINERS: Final = (2, 4, 8)
TESTED_AT_ONCE: Final = 250
DECAYS: Final = (0.5, 0.75)
"""Parts of a training's steps after which its rate is divided by ten."""


@dataclass(frozen=True)
class Subject:
    """What is trained on what: a provider's directory, rows to train on and rows to ask, and a round of them all."""

    bundle: Path
    train: Columns
    test: Columns
    work: Steps

    def share(self, trainers: int) -> Steps:
        """One trainer's part of a round."""
        return Steps(self.work.steps, self.work.batch // trainers)


def _columns(images: cifar10.Images) -> Columns:
    return {"image": images[0], "label": images[1]}


def cifar(images: int, tested: int) -> Subject:
    """Rounds of 1,024 images: 48 in an epoch of 50,000."""
    parts = (cifar10.training_images(images), cifar10.held_out_images(tested))
    train, test = (_columns(one) for one in parts)
    return Subject(EXAMPLE, train, test, Steps(8, 128))


def digits() -> Subject:
    """Rounds of 128 images: 11 in an epoch of 1,438; 359 are asked."""
    with tempfile.TemporaryDirectory() as place:
        files = write_digits(Path(place))
        train, test = (dict(np.load(one, allow_pickle=False)) for one in (files.train, files.held_out))
    return Subject(EXAMPLE.with_name("digits_cnn"), train, test, Steps(4, 32))


@dataclass(frozen=True)
class Study:
    """How large it is: all images seen `epochs` times; `images` and `tested` of CIFAR-10.

    `rounds_ahead`, `outer_rate` and `outer_momentum`: as an order has them.
    """

    data: Literal["cifar10", "digits"] = "cifar10"
    images: int = 10_000
    epochs: int = 5
    seeds: tuple[int, ...] = SEEDS
    trainers: tuple[int, ...] = TRAINERS
    rounds_ahead: int = 1
    outer_rate: float = 1.0
    outer_momentum: float = 0.0
    tested: int = 10_000


class Member:
    """One trainer: the provider's module with its optimiser, its rows, the residual of its deltas."""

    def __init__(self, subject: Subject, seed: int, slot: int, trainers: int, rounds: int) -> None:
        from common.sandboxed.local_training import build_model
        from common.sandboxed.model_state import flatten_state

        description, _ = read_bundle_directory(subject.bundle)
        model: Any = build_model(description.entry, seed)
        self.model, self.initial_P, self._optimizer = model, flatten_state(model), model.configure_optimizers()
        key = SecretKey(seed.to_bytes(32, "big"))
        decay(self._optimizer, rounds * subject.work.steps)
        self._work = subject.share(trainers)
        self._rows = RoundRows([subject.train], key, slot, trainers, self._work.images)
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
        """The DELTA payload of a round; with `ahead`, from where a member stands that went on."""
        from common.sandboxed.model_state import flatten_state, load_state

        start_P = state_P if self._ahead_P is None else self._ahead_P
        load_state(self.model, start_P)
        self.train(number, bf16=bf16)
        change_P = flatten_state(self.model) - start_P
        self._ahead_P = next_start(state_P, start_P, change_P) if ahead else None
        return bytes(self._encoder.encode(change_P, Figures(None, self._work.steps, self._work.images)))


def decay(optimizer: Any, steps: int) -> None:
    """Divide the rate by ten after each part of so many steps."""
    from torch.optim.lr_scheduler import MultiStepLR

    schedule = MultiStepLR(optimizer, [int(part * steps) for part in DECAYS])
    optimizer.register_step_post_hook(lambda *_: schedule.step())


@cache
def _layout(bundle: Path) -> tuple[StateTensor, ...]:
    return measure_layout(bundle)


def exchanged(subject: Subject, rounds: int, trainers: int, seed: int, study: Study, *, bf16: bool) -> Any:
    """The module with the state after so many rounds of so many trainers."""
    from common.sandboxed.model_state import load_state

    members = [Member(subject, seed, slot, trainers, rounds) for slot in range(trainers)]
    state_P = members[0].initial_P
    outer = OuterOptimiser(state_P.size, learning_rate=study.outer_rate, momentum=study.outer_momentum)
    outer.average(buffer_slices(_layout(subject.bundle)))
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
    alone = Member(subject, seed, 0, 1, rounds)
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
            model = exchanged(subject, seen, trainers, seed, study, bf16=bf16)
            reached = accuracy(model, subject.test)
            lost.append(round(plain[seed] - reached, 2))
            click.echo(f"seed {seed}, {trainers} trainers: {reached:.2f}")
    told: dict[str, Any] = {"accuracy_data": study.data, "accuracy_plain": round(statistics.mean(plain.values()), 2)}
    for trainers, lost in gaps.items():
        told |= {f"accuracy_gap_{trainers}": round(statistics.mean(lost), 2)}
        told |= {f"accuracy_gap_{trainers}_by_seed": lost}
    return told | {
        "accuracy_images_seen": seen * subject.work.images,
        "accuracy_batches": {"plain": subject.work.batch} | {str(n): subject.share(n).batch for n in study.trainers},
        "accuracy_toolchain": "bf16" if bf16 else "fp32",
    }
