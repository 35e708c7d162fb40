"""The whole path once, as three parties walk it (side: owner).

Every step is an SDK operation that the README shows as a command; the demo only plays the three parties, each in its
own identity directory, and adds up what their events told. The plain twin is the one thing that no party could do
alone: it shows the provider's code the owner's data, which is what Cloister is there to avoid.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar, cast

import numpy as np

from client import events as e
from client import granting, identity, ordering, owner, provider, user
from client.context import Endpoints, Party
from client.digits import DigitsFiles, write_digits
from client.measuring import CODE_ROOT, measure_roles
from client.ordering import Training
from client.pinning import pin
from client.plain_training import train_plain_twin
from client.policy_terms import PolicyTerms, ProviderTerms
from client.scheduling import ScheduleWishes
from common.enclave.trust_settings import TrustSettings
from common.errors import refusal_of
from common.identifiers import Digest
from common.messages.signed import Signed

PROVIDER_SOURCE: Final = CODE_ROOT / "examples" / "providers" / "digits_cnn"
TRAINERS: Final = 2
WISHES: Final = ScheduleWishes(rounds=20, steps=30, batch=64, tick_milliseconds=100, slack_percent=130)
"""Half a minute: each of two trainers makes 600 steps on its rows."""

ANSWERS: Final = 1_000
PLAIN_SEED: Final = 1
FASTEST_STEP: Final = 5
SLOWEST_STEP: Final = 25
"""Bounds of the calibration, in milliseconds."""

PARTIES: Final = ("provider", "owner", "user")

Stage = Iterator[e.Event]
E = TypeVar("E", bound=e.Event)


@dataclass(frozen=True)
class DemoPlaces:
    """Where the demo works and what it is pointed at. `cache` remembers digests of third-party files.

    `environment`: of enclaves that run among other such files than ours, their digest, as that stack says it.
    """

    directory: Path
    cache: Path
    endpoints: Endpoints
    trust_settings: TrustSettings
    environment: Digest | None = None

    def party(self, name: str) -> Party:
        """One of the three parties."""
        return Party(self.directory / "parties" / name)


def run_demo(places: DemoPlaces, begun: float, carried: Callable[[], dict[str, int]]) -> Stage:
    """All stages. Ends with `DemoFinished`; `begun` is the monotonic time from which the wall time counts.

    `carried` asks the host's services what they have seen.
    """
    tally = _Tally()
    for event in _stages(places, tally):
        tally.count(event)
        yield event
    yield tally.figures(time.monotonic() - begun, carried())


def _stages(places: DemoPlaces, tally: "_Tally") -> Stage:
    yield e.StageBegan(title="Three parties make their identities and pin what they trust")
    yield from _meet(places)
    yield e.StageBegan(title="The provider packs and publishes its code, sealed")
    yield from _publish(places)
    yield e.StageBegan(title="The owner seals its data, uploads it and says who may train on it")
    yield from _prepare(places, tally)
    yield e.StageBegan(title="For comparison: the same code and data in plain torch, without any protection")
    files = write_digits(places.directory / "data")
    plain = train_plain(files)
    yield plain
    yield e.StageBegan(title="Training in enclaves; metrics are opened with the owner's key, the host can't read them")
    yield from _train(places, calibrated(plain), tally)
    yield e.StageBegan(title="The user verifies the query enclave and asks the held-out images, sealed")
    yield from _ask(places, tally)


def train_plain(files: DigitsFiles) -> e.PlainTwinTrained:
    """The plain twin of the demo's job: as many steps, each on the rows of all trainers."""
    steps, batch = WISHES.rounds * WISHES.steps, WISHES.batch * TRAINERS
    return train_plain_twin(PROVIDER_SOURCE, files.train, files.held_out, steps=steps, batch=batch, seed=PLAIN_SEED)


def calibrated(plain: e.PlainTwinTrained) -> ScheduleWishes:
    """The demo's job with a schedule for this machine, now: a twin's step bounds a trainer's from above.

    The schedule is public and signed before the job begins, so nothing that happens in the job can change it.
    """
    measured = 1000 * plain.seconds / (WISHES.rounds * WISHES.steps)
    return replace(WISHES, step_milliseconds=min(max(FASTEST_STEP, round(measured)), SLOWEST_STEP))


def _meet(places: DemoPlaces) -> Stage:
    measured = tuple(measure_roles(places.trust_settings, places.cache, environment=places.environment))
    for name in PARTIES:
        directory = places.party(name).directory
        yield from identity.make(directory, name, directory.with_suffix(".recovery"), unsafe_simulation=True)
    for name in PARTIES:
        events = pin(places.party(name), places.endpoints, places.trust_settings, measured=measured)
        yield from events if name == "owner" else _without_repetition(events)


def _without_repetition(events: Stage) -> Stage:
    """The other parties pin the same; a person need not read the fingerprints three times."""
    return (event for event in events if not isinstance(event, e.Pinned))


def _publish(places: DemoPlaces) -> Stage:
    party, packed = places.party("provider"), places.directory / "bundle.sealed"
    yield from provider.pack(party, PROVIDER_SOURCE, packed)
    yield from provider.publish(party, packed, ProviderTerms())


def _prepare(places: DemoPlaces, tally: "_Tally") -> Stage:
    party, sealed = places.party("owner"), places.directory / "digits.sealed"
    files = write_digits(places.directory / "data")
    yield from owner.seal(party, files.train, sealed)
    yield from owner.upload(party, sealed)
    terms = PolicyTerms(
        providers=(places.party("provider").identity.signing_key.party,),
        bundles=(tally.last(e.BundleRegistered).root,),
        min_trainers=TRAINERS,
        max_trainers=TRAINERS,
        answers_total=ANSWERS,
    )
    yield from owner.set_policy(party, tally.last(e.DatasetRegistered).dataset_id, terms)


def _train(places: DemoPlaces, wishes: ScheduleWishes, tally: "_Tally") -> Stage:
    party = places.party("owner")
    training = Training(
        tally.last(e.DatasetRegistered).dataset_id, tally.last(e.BundleRegistered).bundle_id, TRAINERS, wishes
    )
    yield from ordering.train(party, training)
    yield from ordering.watch(party, tally.last(e.OrderAccepted).job_id)
    seen = tally.last(e.JobSeen)
    if seen.model_id is None:
        raise refusal_of(seen.code or "conflict.job_state", expected="a finished job", seen=seen.state)
    require_learned(tally.last(e.ModelSealed))


def require_learned(model: e.ModelSealed) -> None:
    """A model is sealed whatever was learned, of zeros perhaps: only the last report says that it is worth asking.

    Raises `UnavailableError`: unavailable.report when that report is lost, unavailable.rounds when the job failed.
    """
    if model.outcome is None:
        raise refusal_of("unavailable.report", expected="a last report of the job", seen=model.job_id)
    if model.outcome == "failed":
        raise refusal_of("unavailable.rounds", expected="a completed round", seen=model.rounds_done)


def _ask(places: DemoPlaces, tally: "_Tally") -> Stage:
    asker, destination = places.party("user"), places.directory / "grant.json"
    held_out = np.load(places.directory / "data" / "digits-held-out.npz", allow_pickle=False)
    yield from granting.grant(
        places.party("owner"),
        asker.identity.signing_key.party,
        tally.last(e.ModelSealed).model_id,
        granting.GrantTerms(ANSWERS),
        destination,
    )
    yield from user.query(asker, Signed.decode(destination.read_bytes()), held_out["image"])
    tally.accuracy_sealed = float((np.array(tally.last(e.Answered).labels) == held_out["label"]).mean())


class _Tally:
    """What the parties' events told. A stage reads what an earlier one made by its event."""

    def __init__(self) -> None:
        self._last: dict[type[e.Event], e.Event] = {}
        self._quotes = 0
        self.accuracy_sealed = 0.0

    def count(self, event: e.Event) -> None:
        """Take one event into account."""
        self._last[type(event)] = event
        self._quotes += isinstance(event, e.QuoteVerified)

    def last(self, kind: type[E]) -> E:
        """The newest event of a kind that an earlier stage has told."""
        event = self._last.get(kind)
        if event is None:
            raise LookupError(f"no stage has told a {kind.__name__} yet")
        return cast("E", event)

    def figures(self, wall_seconds: float, carried: dict[str, int]) -> e.DemoFinished:
        """What the table shows. Frames are the enclave's own count, which only the owner can read."""
        report = self.last(e.ReportOpened).report
        return e.DemoFinished(
            wall_seconds=round(wall_seconds, 1),
            accuracy_sealed=self.accuracy_sealed,
            accuracy_plain=self.last(e.PlainTwinTrained).accuracy,
            trainers=self.last(e.OrderAccepted).trainers,
            trust_level=self.last(e.ModelSealed).trust_level,
            quotes_verified=self._quotes,
            real_frames=report.real_frames,
            dummy_frames=report.dummy_frames,
            ciphertext_bytes=carried,
        )
