"""Under which name a model is served: an owner's signed, numbered word of which version that is (side: library).

Users ask under a name, and versions come and go behind it. A record says which is current, which was before, and which
share of sessions tries a candidate (the canary). The key broker takes records in the order of their numbers alone and
answers under a name's grants only for models that the newest record names (ARCHITECTURE, decision 50).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import Digest, ModelId, PartyKey
from common.messages.base import Message, Seconds
from common.messages.signed import Signed

SERVING_NAME_PATTERN = r"^[a-z][a-z0-9-]{0,31}$"
ServingName = Annotated[str, Field(pattern=SERVING_NAME_PATTERN)]


class ServedName(Message):
    """Whose name it is, and the name: each owner has names of its own."""

    owner: PartyKey
    name: ServingName


class ServedModel(Message):
    """One version: a model, and the digest of its signed manifest."""

    model_id: ModelId
    manifest: Digest


class ServingRecord(Message):
    """Which versions a name stands for. Signed by every owner of the data of all of them, `served.owner` among these.

    `number` is one more than the record's before. `current` answers; `previous` goes on answering those who asked it;
    `canary` is tried by `canary_permille` of a thousand sessions, by their own choice.
    """

    type: Literal["serving-record"] = "serving-record"
    version: Literal[1] = 1
    served: ServedName
    number: Annotated[int, Field(ge=1, le=1 << 40)]
    broker: PartyKey
    current: ServedModel
    previous: ServedModel | None = None
    canary: ServedModel | None = None
    canary_permille: Annotated[int, Field(ge=0, le=999)] = 0
    created: Seconds

    @model_validator(mode="after")
    def _each_version_has_one_place(self) -> Self:
        named = [one.model_id for one in self.models]
        if len(named) != len(set(named)):
            raise ValueError("each version has one place")
        if (self.canary is None) != (self.canary_permille == 0):
            raise ValueError("a canary has a share, and nothing else has")
        return self

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """All versions that may answer."""
        return tuple(one for one in (self.current, self.canary, self.previous) if one is not None)


class SetServing(Message):
    """Answer: ServingShown. A Signed ServingRecord."""

    type: Literal["set-serving"] = "set-serving"
    record: Signed


class ReadServing(Message):
    """Answer: ServingShown, the newest record. Asked by anybody who knows the name."""

    type: Literal["read-serving"] = "read-serving"
    served: ServedName


class ServingShown(Message):
    """The Signed ServingRecord that counts."""

    type: Literal["serving-shown"] = "serving-shown"
    record: Signed
