"""Events of sealed data and code: uploaded, registered, under a policy (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import BundleId, DatasetId, Digest
from common.messages.base import Count, Seconds


class Sealed(Event):
    """Data or code was sealed; the key stays in the identity directory."""

    type: Literal["sealed"] = "sealed"
    directory: str
    root: Digest
    chunks: Count
    ciphertext_bytes: Count


class UploadAdvanced(Event):
    """One more chunk is with the operator. `resumed` counts chunks that an earlier try had left there."""

    type: Literal["upload-advanced"] = "upload-advanced"
    root: Digest
    leaves: Count
    of: Count
    resumed: Count
    bytes_sent: Count


class DatasetRegistered(Event):
    """The key broker knows the data set and holds its wrapped key."""

    type: Literal["dataset-registered"] = "dataset-registered"
    dataset_id: DatasetId
    policy: Digest
    bytes_sent: Count


class BundleRegistered(Event):
    """The key broker knows the bundle and holds its wrapped key."""

    type: Literal["bundle-registered"] = "bundle-registered"
    bundle_id: BundleId
    root: Digest
    state_class: Count
    sandbox: str
    bytes_sent: Count


class VersionListed(Event):
    """A bundle of this provider, as the broker's verified log tells of it. `published` is the log entry's time.

    `name` null: published from another directory. `jobs` accepted orders name it, of which `finished` have sealed a
    model or failed; of the others the log does not tell a provider whether they still run.
    """

    type: Literal["version-listed"] = "version-listed"
    bundle_id: BundleId
    name: str | None
    bundle_version: str | None
    root: Digest | None
    published: Seconds
    jobs: Count
    finished: Count
    state: Literal["in force", "retired", "revoked"]


class PolicySigned(Event):
    """A version of a data set's policy, or of a bundle's terms, is in force."""

    type: Literal["policy-signed"] = "policy-signed"
    dataset_id: DatasetId | None = None
    bundle_id: BundleId | None = None
    policy_version: Count
    digest: Digest
