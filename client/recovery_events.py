"""Events of recovery: cards of holders, packages, shares, what came back (side: owner)."""

from typing import Literal

from client.events import Event
from common.identifiers import DatasetId, Digest, PartyKey
from common.messages.base import Count
from common.messages.log_heads import LogHead


class CardKept(Event):
    """A holder's card: written by the holder, or kept by an owner."""

    type: Literal["card-kept"] = "card-kept"
    party: PartyKey
    path: str | None = None


class PackageShown(Event):
    """What the public part of a recovery package says."""

    type: Literal["package-shown"] = "package-shown"
    dataset_id: DatasetId
    digest: Digest
    broker: Digest
    policy_version: Count
    head: LogHead
    needed: Count
    holders: tuple[PartyKey, ...]


class ShareGiven(Event):
    """A share was wrapped to one boot of one broker, and to nothing else."""

    type: Literal["share-given"] = "share-given"
    dataset_id: DatasetId
    package: Digest
    successor: Digest
    epoch: Count
    path: str


class BrokerRetired(Event):
    """A witness has confirmed the end of a broker in favour of another."""

    type: Literal["broker-retired"] = "broker-retired"
    broker: Digest
    successor: Digest
    head: LogHead
    path: str


class DatasetRecovered(Event):
    """The data set is with its new broker. Orders and grants are to be signed anew."""

    type: Literal["dataset-recovered"] = "dataset-recovered"
    dataset_id: DatasetId
    predecessor: Digest
