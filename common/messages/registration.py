"""How data sets and bundles become known to the broker, and the terms over them change (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import BundleId, DatasetId, Digest
from common.messages.base import Message
from common.messages.signed import Signed


class RegisterDataset(Message):
    """Answer: Registered. `policy` is the Signed DataPolicy wrapped to the broker, `data_key` a key ring {data}.

    info of `policy`: `policy_info(...)`, info of `data_key`: `data_key_info(...)` in common/key_binding.
    """

    type: Literal["register-dataset"] = "register-dataset"
    manifest: Signed
    policy: Annotated[bytes, Field(max_length=1 << 18)]
    data_key: Annotated[bytes, Field(max_length=4096)]


class UpdatePolicy(Message):
    """Answer: Registered. A later version of a data set's policy, chained to the one before, wrapped to the broker.

    `digest` is that of the new version, which the info of its wrapping names.
    """

    type: Literal["update-policy"] = "update-policy"
    dataset_id: DatasetId
    digest: Digest
    policy: Annotated[bytes, Field(max_length=1 << 18)]


class RegisterBundle(Message):
    """Answer: Registered. `terms` is the Signed BundleTerms wrapped to the broker, `bundle_key` a key ring {bundle}."""

    type: Literal["register-bundle"] = "register-bundle"
    publication: Signed
    terms: Annotated[bytes, Field(max_length=1 << 18)]
    bundle_key: Annotated[bytes, Field(max_length=4096)]


class UpdateTerms(Message):
    """Answer: Registered. A later version of a bundle's terms, as UpdatePolicy brings one of a data set's policy."""

    type: Literal["update-terms"] = "update-terms"
    bundle_id: BundleId
    digest: Digest
    terms: Annotated[bytes, Field(max_length=1 << 18)]


class Registered(Message):
    """A data set or bundle is known to the broker."""

    type: Literal["registered"] = "registered"
    dataset_id: DatasetId | None = None
    bundle_id: BundleId | None = None


class RetireBundle(Message):
    """Answer: BundleRetired. A Signed BundleRetirement by the bundle's provider."""

    type: Literal["retire-bundle"] = "retire-bundle"
    retirement: Signed


class BundleRetired(Message):
    """Done and logged: no order that names the bundle is accepted any more. What was accepted goes on.

    `document` is the digest of the retirement that counts: the first one.
    """

    type: Literal["bundle-retired"] = "bundle-retired"
    bundle_id: BundleId
    document: Digest
