"""How a query enclave draws answers from the budget of a grant (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.bundle import MAX_ROW_BYTES
from common.identifiers import GrantId, ModelId, PartyKey
from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.base import Count, Message, Signature64
from common.messages.policy import AnswerDetail
from common.messages.signed import Signed


class DrawBudget(Message):
    """Answer: BudgetBlock. A placed query enclave draws answers for one grant; signed with its launch key.

    By 0 answers it hears whether what it drew before may still be given: judged as any draw is, and nothing charged.
    `classes` and `row_bytes` are the size of a row's answer, as the enclave knows it from the bundle: what an answer is
    charged in bits depends on them (common/leakage).
    """

    type: Literal["draw-budget"] = "draw-budget"
    model_id: ModelId
    grant: Signed
    answers: Annotated[int, Field(ge=0, le=1 << 20)]
    classes: Annotated[int, Field(ge=1, le=MAX_ROW_BYTES)]
    row_bytes: Annotated[int, Field(ge=1, le=MAX_ROW_BYTES)]
    launch: PartyKey
    statement: Signature64


class BudgetBlock(Message):
    """Answers that a query enclave may give under one grant; spent here even if the enclave dies.

    `detail` and `bounds` are the tightest of the grant, every owner's policy and the provider's terms: these answers
    tell no more.
    """

    type: Literal["budget-block"] = "budget-block"
    grant_id: GrantId
    answers: Count
    remaining: Count
    detail: AnswerDetail
    bounds: AnswerBounds = NO_ANSWER_BOUNDS
