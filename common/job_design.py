"""A job's design on its way from trainer to answer: what each enclave checks before it uses one (side: library).

A bundle of design code states input, label, answer and the largest state; what model a job trains is in a document that
its code wrote after it had seen the data's profile. Trainer, parameter server and query enclave each read that document
with `open_design`, and none of them takes another's word for it. It becomes an ordinary bundle, of a design instead of
code, so trusted code trains and serves it.
"""

from typing import Final

from common.bundle import BundleContents, BundleManifest
from common.design_bundle import bundle_of_design
from common.messages.order import Schedule
from common.model_graph.checking import STANDARD_BOUNDS, GraphBounds
from common.model_graph.reading import parse_design

FLOPS_PER_SECOND: Final = 1 << 33
"""Operations that a schedule buys for each second of a round: 8.6 GFLOP/s, which kernels of small models reach in fp32
on one busy core. A larger model wants longer rounds: `owner train --step-ms`."""

TRAINING_FACTOR: Final = 3
"""Operations of a training step in units of the forward pass: the backward pass takes two."""

BATCH_BYTES: Final = 1 << 30
"""Of activations that a step may keep, a third of a sandbox's memory."""


def design_bounds(bundle: BundleManifest, schedule: Schedule) -> GraphBounds:
    """What a design may need: a function of the bundle and of the order's public part."""
    round_flops = FLOPS_PER_SECOND * schedule.ticks_per_round * schedule.tick_milliseconds // 1000
    rows = schedule.steps_per_round * schedule.batch_rows
    return GraphBounds(
        state_values=bundle.state_count,
        flops_per_row=min(STANDARD_BOUNDS.flops_per_row, max(1, round_flops // (TRAINING_FACTOR * rows))),
        activation_bytes_per_row=min(STANDARD_BOUNDS.activation_bytes_per_row, BATCH_BYTES // schedule.batch_rows),
    )


def open_design(document: bytes, bundle: BundleManifest, schedule: Schedule) -> BundleContents:
    """The bundle that is trained and served. Raises `FormatError` (format.design, format.too_large)."""
    design, _ = parse_design(document, design_bounds(bundle, schedule))
    return bundle_of_design(bundle.model_copy(update={"kind": "native", "max_parameters": None}), design)
