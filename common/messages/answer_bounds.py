"""How much of a model's scores an answer tells, and how often one is given, at most (side: library).

What is given is the tightest of a grant, every owner's policy and the provider's terms (common/messages/bounds). The
query enclave cuts answers to it (services/query_enclave/telling), the key broker charges for what is then left to tell
(common/leakage).
"""

from typing import Annotated, Final

from pydantic import Field

from common.messages.base import Message

MOST_TOP: Final = 256
"""An answer that tells more of its scores tells all of them."""

MOST_DECIMALS: Final = 6
"""20 bits a value: a float32 has 24 of precision, and more decimals would round nothing."""


class AnswerBounds(Message):
    """`top`: so many of the largest scores. `decimals`: scores as confidences from 0 to 1, rounded to so many places.
    `queries_per_minute`: of one user, at one launch of the query enclave. None: no bound.
    """

    top: Annotated[int, Field(ge=1, le=MOST_TOP)] | None = None
    decimals: Annotated[int, Field(ge=0, le=MOST_DECIMALS)] | None = None
    queries_per_minute: Annotated[int, Field(ge=1, le=60_000)] | None = None


NO_ANSWER_BOUNDS: Final = AnswerBounds()
