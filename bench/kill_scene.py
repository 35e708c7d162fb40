"""A stack of its own and the parties that the kill loop needs: provider, owner, user (side: owner)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.kill_asking import Asker
from bench.kill_driver import PATIENT_JOB, SHORT_JOB, KillDriver
from client import events as e
from client import granting, ordering, owner, provider, user
from client.context import Endpoints, Party
from client.digits import write_digits
from client.measuring import CODE_ROOT, digest_cache, measure_roles
from client.pinning import pin
from client.policy_terms import PolicyTerms, ProviderTerms
from client.scheduling import ScheduleWishes
from client.stack_access import endpoints_of, read_trust_settings
from common.enclave.trust_settings import TrustSettings
from common.errors import UnavailableError
from common.identifiers import Digest
from common.messages.signed import Signed
from deploy.embedded.stack import EmbeddedStack

SOURCE: Final = CODE_ROOT / "examples" / "providers" / "digits_cnn"

ANSWERS: Final = 1_000_000
LEARNED: Final = frozenset({"finished", "finished_short"})
"""Outcomes of a job whose model has seen data."""

WARMUPS: Final = (12, 24, 60)
"""Seconds before the first round of the job whose model is asked, in turn until one learns."""


@dataclass(frozen=True)
class Scene:
    """What a loop of rounds plays on."""

    driver: KillDriver
    asker: Asker


@contextmanager
def played_on(state: Path, directory: Path, rounds: int) -> Iterator[Scene]:
    """A stack in `state` and parties in `directory`, good for `rounds` jobs. All is stopped at the end."""
    stack = EmbeddedStack(state)
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory)
        training = allowed_training(parties, directory, rounds + len(WARMUPS))
        grant = _granted_in_time(parties, training, directory / "grant.json")
        rows = np.load(directory / "digits" / "digits-held-out.npz", allow_pickle=False)["image"][:1]
        asker = Asker(lambda: user.open_session(parties["user"], grant), rows)
        asker.start()
        try:
            yield Scene(KillDriver(stack, parties["owner"], training), asker)
        finally:
            asker.stop()
    finally:
        stack.stop()


def enrolled(stack: EmbeddedStack, directory: Path) -> dict[str, Party]:
    """Provider, owner and user, enrolled, who have pinned this stack."""
    return enrolled_at(endpoints_of(stack.status()), read_trust_settings(stack.state.root), directory)


def enrolled_at(
    endpoints: Endpoints, trust: TrustSettings, directory: Path, *, environment: Digest | None = None
) -> dict[str, Party]:
    """The same at a stack of these addresses; `environment` as in `measure_roles`."""
    measured = tuple(measure_roles(trust, digest_cache(), environment=environment))
    parties = {}
    for name in ("provider", "owner", "user"):
        parties[name] = Party.create(directory / name, name, unsafe_simulation=True)
        e.outcome(pin(parties[name], endpoints, trust, measured=measured), e.Pinned)
    return parties


def allowed_training(parties: dict[str, Party], directory: Path, jobs: int, **more: int) -> ordering.Training:
    """The example bundle on digits, both published, and a policy for so many jobs; `more` are further terms."""
    e.outcome(provider.pack(parties["provider"], SOURCE, directory / "bundle"), e.Sealed)
    published = provider.publish(parties["provider"], directory / "bundle", ProviderTerms())
    bundle = e.outcome(published, e.BundleRegistered)
    files = write_digits(directory / "digits")
    e.outcome(owner.seal(parties["owner"], files.train, directory / "data"), e.Sealed)
    dataset = e.outcome(owner.upload(parties["owner"], directory / "data"), e.DatasetRegistered)
    allowed = (parties["provider"].identity.signing_key.party,)
    terms = PolicyTerms.model_validate({"providers": allowed, "max_jobs": jobs, "answers_total": ANSWERS} | more)
    e.outcome(owner.set_policy(parties["owner"], dataset.dataset_id, terms), e.PolicySigned)
    return ordering.Training(dataset.dataset_id, bundle.bundle_id, 2, SHORT_JOB)


def _granted_in_time(parties: dict[str, Party], training: ordering.Training, destination: Path) -> Signed:
    """With more time again and again where the machine was too busy. Raises as `trained_grant`."""

    def granted(seconds: int) -> Signed:
        wishes = replace(PATIENT_JOB, warmup_seconds=seconds)
        return trained_grant(parties["owner"], parties["user"], training, destination, ANSWERS, wishes)

    for seconds in WARMUPS[:-1]:
        with suppress(UnavailableError):
            return granted(seconds)
    return granted(WARMUPS[-1])


def trained_grant(
    owner_party: Party,
    asker: Party,
    training: ordering.Training,
    destination: Path,
    answers: int,
    wishes: ScheduleWishes = PATIENT_JOB,
) -> Signed:
    """A grant for a model that is trained now. Raises `UnavailableError` (unavailable.rounds) when it ends without."""
    order = ordering.train(owner_party, replace(training, wishes=wishes))
    job_id = e.outcome(order, e.OrderAccepted).job_id
    *_, last = ordering.watch(owner_party, job_id)
    if not isinstance(last, e.ModelSealed) or last.outcome not in LEARNED:
        raise UnavailableError("unavailable.rounds", expected="a model to ask", seen=last)
    asked_by, terms = asker.identity.signing_key.party, granting.GrantTerms(answers)
    e.outcome(granting.grant(owner_party, asked_by, last.model_id, terms, destination), e.GrantSigned)
    return Signed.decode(destination.read_bytes())
