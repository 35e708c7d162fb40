"""Where a trainer starts that goes on while a round is exchanged (side: library).

P parameters of a state. The member knows the round's state, where it stood itself when it began that round, and what it
changed in it; the others' changes come with the next state. Its next round starts from the state and its own change,
which is its guess at the mean (arXiv 2502.12996 calls such updates eager), and from `KEPT_SHARE` of how far it stood
off the state before.

All of that distance is off the next state too, but for what the round's steps have made good: nothing of it where the
loss is flat, and more than all where it is steep and an optimiser with momentum swings. A member that keeps none of it
takes back what was made good, and stands off the other way, round by round further where it is steepest; one that keeps
all of it never comes back to the others. Half is a stable middle. Eight trainers of ResNet-20, batches of 16, 40 rounds
of 8 steps, one seed: 25.7 % of images right with nothing kept, 30.1 % with half, 35.2 % in lockstep.
"""

from typing import Final

import numpy as np

from common.exchange.payloads import StateP

KEPT_SHARE: Final = np.float32(0.5)


def next_start(state_P: StateP, start_P: StateP, change_P: StateP) -> StateP:
    """The start of the round after the one that `state_P` is of, begun at `start_P` and trained to its change."""
    return state_P + change_P + KEPT_SHARE * (start_P - state_P)
