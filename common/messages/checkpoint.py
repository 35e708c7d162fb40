"""Where a job stands, as its parameter server has the broker remember it (side: library; ARCHITECTURE, decision 32).

The state itself is a sealed object that the host stores (docs/formats.md). What the broker keeps of it is its root, so
that a host can lose the newest one, and can't have an older one taken for it.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import JobId
from common.messages.base import Count, Message
from common.messages.objects import ObjectRef


class Checkpoint(Message):
    """The job after `tick`, sealed by the parameter server's launch `attempt`."""

    attempt: Count
    tick: Count
    object: ObjectRef


class KeepCheckpoint(Message):
    """Answer: CheckpointKept. The job's newest checkpoint, which is stored.

    `statement` is the launch key's signature over LAUNCH_STATEMENT and `keep_checkpoint_parts`.
    """

    type: Literal["keep-checkpoint"] = "keep-checkpoint"
    job_id: JobId
    checkpoint: Checkpoint
    statement: Annotated[bytes, Field(min_length=64, max_length=64)]


class CheckpointKept(Message):
    """A later launch goes on from there."""

    type: Literal["checkpoint-kept"] = "checkpoint-kept"
    job_id: JobId
