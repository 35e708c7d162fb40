"""Under which release a launch is judged (side: enclave).

The members of a job: under that of its order, for that is what was signed. A query enclave: under that as well, or, if
its code is not of it, under this broker's own release, to which model keys were handed over with everything else. So a
model outlives an upgrade of the enclaves, and need not be trained anew. This broker's own release counts for a model
where

  (1) as many of the release keys that this broker is measured with as a release needs have signed it, it is in force,
      and it names this very broker as its `broker`;
  (2) the newest terms of every owner and of the provider name it, as for a handover: none of their keys goes to code
      that they have not named.

The host says which release that is (`OwnRelease.name`), at each start: it is public, and with an older one that meets
(1) the parties' terms decide just as well. A grant names the release of the enclaves that it is for, so that a user
knows whom he asks: after an upgrade its owners grant anew.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from common.enclave.trust_settings import require_release
from common.errors import AppraisalError, PolicyError
from common.identifiers import Digest, RoleName
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.reference_values import SgxSignerReferenceValue
from common.messages.release import Release
from common.messages.signed import Signed
from common.policy_rules import require_release_accepted, require_release_kept
from services.attestation.context import BrokerContext
from services.attestation.members import QUERY
from services.attestation.records import JobRecord, LaunchRecord

BROKER_ROLE: Final = "broker"
_OTHER_CODE: Final = "appraisal.measurement"

T = TypeVar("T")


def require_own_release(broker: BrokerContext, document: Signed) -> Release:
    """Check (1). Raises `AppraisalError` (appraisal.release)."""
    release = require_release(document, broker.platform.trust_settings)
    broker.require_in_force(document.digest)
    own = release.reference(BROKER_ROLE, broker.platform.trust_level)
    if isinstance(own, SgxSignerReferenceValue) or own.code != broker.platform.measurement:
        raise AppraisalError("appraisal.release", expected="a release that names this broker", seen=release.tag)
    return release


def judge_under(
    broker: BrokerContext, job: JobRecord, role: RoleName, judge: Callable[[Release], T]
) -> tuple[T, Digest | None]:
    """What `judge` says under the release that the launch is of, and which that is; None: the order's.

    Raises what it raises under the order's release, unless that is `AppraisalError` (appraisal.measurement) and there
    is another.
    """
    try:
        return judge(broker.release_of(job)), None
    except AppraisalError as refusal:
        own = _own_release(broker, job) if role == QUERY and refusal.code == _OTHER_CODE else None
        if own is None:
            raise
    return judge(require_own_release(broker, own)), own.digest


def require_kept_for(terms: DataPolicy | BundleTerms, job: JobRecord, release: Digest) -> None:
    """These terms let a model of that job be answered for under this release: they end neither, and name it if it is
    not the order's. Raises `PolicyError`.
    """
    if isinstance(terms, DataPolicy):
        require_release_kept(terms, job.order.release)
        require_release_kept(terms, release)
    if release != job.order.release:
        require_release_accepted(terms, release)


def release_of_launch(job: JobRecord, launch: LaunchRecord) -> Digest:
    """Under which a launch was admitted."""
    return launch.release or job.order.release


def _own_release(broker: BrokerContext, job: JobRecord) -> Signed | None:
    """This broker's own, where it counts for this model and is another than the order's."""
    own = broker.own_release.document
    if own is None or own.digest == job.order.release or not _accepted(_newest_terms(broker, job), own.digest):
        return None
    return own


def _newest_terms(broker: BrokerContext, job: JobRecord) -> Iterable[DataPolicy | BundleTerms]:
    yield from (data.policy for data in broker.datasets_of(job))
    yield broker.bundle(job.order.bundle).terms


def _accepted(terms: Iterable[DataPolicy | BundleTerms], release: Digest) -> bool:
    """Check (2). Whose terms do not name it is not told: what the launch lacks, it lacks under its order's release."""
    try:
        for one in terms:
            require_release_accepted(one, release)
    except PolicyError:
        return False
    return True
