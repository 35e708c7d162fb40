"""Events of the stack on this machine, and of the demo (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.messages.base import Count, Seconds


class PlainTwinTrained(Event):
    """The same provider code was trained in plain torch on the same data, for comparison. `loss` is the last step's."""

    type: Literal["plain-twin-trained"] = "plain-twin-trained"
    accuracy: float
    loss: float
    rows: Count
    seconds: float


class StackSeen(Event):
    """The embedded stack, and what each service that is not ready waits for."""

    type: Literal["stack-seen"] = "stack-seen"
    state: str
    directory: str
    ready: tuple[str, ...]
    waiting: dict[str, tuple[str, ...]]


class Examined(Event):
    """One part of a machine or its stack (`cloister doctor`). `command` mends it, where one does."""

    type: Literal["examined"] = "examined"
    part: str
    state: Literal["ok", "note", "mend"]
    told: str
    command: str | None = None


class StateCopied(Event):
    """The stack's state was copied away (`made`) or back (`restored`). `was_up`: it went on while it was copied."""

    type: Literal["state-copied"] = "state-copied"
    state: Literal["made", "restored"]
    directory: str
    made_at: Seconds
    was_up: bool
    files: Count
    bytes: Count


class StageBegan(Event):
    """The demo goes on to its next stage."""

    type: Literal["stage-began"] = "stage-began"
    title: str


class DemoFinished(Event):
    """The demo's figures; frames as the parameter server's enclave counted them.

    `ciphertext_bytes` is what each host service saw, as it says itself (common/untrusted/carried.py): ciphertext, and
    the signed and public documents around it.
    """

    type: Literal["demo-finished"] = "demo-finished"
    wall_seconds: float
    accuracy_sealed: float
    accuracy_plain: float
    trainers: Count
    trust_level: str
    quotes_verified: Count
    real_frames: Count
    dummy_frames: Count
    ciphertext_bytes: dict[str, Count]
