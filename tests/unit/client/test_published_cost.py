"""A cost is measured once for a packed bundle, published with it, and never unasked."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from client import events as e
from client import provider
from client.broker import BrokerLink
from client.checking.events import StepMeasured
from client.context import Party
from client.measuring import CODE_ROOT
from client.objects import read_reference
from client.policy_terms import ProviderTerms
from client.sealing import seal_to_directory
from client.services import IngestService
from common.bundle import BundleContents
from common.bundle_packing import pack_bundle
from common.messages.objects import BundlePublication, StepCost
from common.sealed_object import ObjectKind
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.log_keeping import identity_directory

COST = StepCost(fixed_microseconds=2048, row_nanoseconds=65536)


class Scene:
    """A provider with a packed bundle, its broker, and how often a step was measured."""

    def __init__(self, directory: Path) -> None:
        self.world, self.measured = BrokerWorld(directory / "world"), 0
        self.party: Party = identity_directory(self.world, self.world.provider, directory / "provider")
        self.packed = directory / "packed"
        contents = pack_bundle(CODE_ROOT / "examples" / "providers" / "digits_design")
        list(seal_to_directory(self.party, contents.encode(), ObjectKind.BUNDLE, self.packed))

    def measure(self, _contents: BundleContents) -> Generator[e.Event, None, StepCost]:
        self.measured += 1
        yield StepMeasured(rows=64, step_milliseconds=4.0, reference_microseconds=1000, published=COST)
        return COST

    def publish(self, *, measure: bool) -> BundlePublication:
        told = provider.publish(self.party, self.packed, ProviderTerms(), measure=measure)
        bundle_id = e.outcome(told, e.BundleRegistered).bundle_id
        stored = self.party.document("publications", bundle_id)
        assert stored is not None
        return BundlePublication.decode(stored.payload)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(tmp_path)

    def link(party: Party, _via: Any = None) -> Any:
        made = BrokerLink(party, scene.world.handle)
        monkeypatch.setattr(made, "verify", lambda *_: e.Noted(text="verified"))
        return made

    class Desk:
        register_bundle = None

    monkeypatch.setattr(IngestService, "of", lambda _party: Desk())
    monkeypatch.setattr(provider, "upload_object", lambda *_: ())
    monkeypatch.setattr(provider, "make_known", lambda _party: None)
    monkeypatch.setattr(provider, "BrokerLink", link)
    monkeypatch.setattr(provider, "measure_step", scene.measure)
    return scene


def test_nothing_is_measured_unasked(scene: Scene) -> None:
    assert scene.publish(measure=False).step_cost is None
    assert scene.measured == 0


def test_a_cost_is_measured_once_and_said_again(scene: Scene) -> None:
    first = scene.publish(measure=True)
    assert first.step_cost == COST
    assert scene.publish(measure=True) == first
    assert scene.publish(measure=False) == first  # what was interrupted can be repeated, however
    assert scene.measured == 1
    assert scene.party.step_cost(read_reference(scene.packed).root) == COST


def test_the_broker_takes_a_publication_with_a_cost(scene: Scene) -> None:
    """`BundleRegistered` is the broker's word, signed: its core read the publication."""
    assert scene.publish(measure=True).step_cost == COST
    assert len(scene.party.documents("publications")) == 1
