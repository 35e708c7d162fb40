"""Design code sees a profile, its design is trained on sealed data by two trainers, and answers sealed questions."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client import events as e
from client import granting, owner, user
from client.context import Party
from client.policy_terms import PolicyTerms
from client.scheduling import ScheduleWishes
from common.bundle import DESCRIPTION_FILE
from common.identifiers import PartyKey
from common.messages.signed import Signed
from tests.e2e.conftest import MakeParty, Registered, RunningStack, publish, train
from tests.fakes.breast_cancer import EXAMPLE, small_component, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WISHES = ScheduleWishes(rounds=5, steps=20, batch=32, slack_percent=140, warmup_seconds=9)


def test_the_example_for_tables_is_designed_trained_and_asked(
    stack: RunningStack, make_party: MakeParty, tmp_path: Path
) -> None:
    columns, held = table()
    source = tmp_path / "design"
    source.mkdir()
    shutil.copy(EXAMPLE / DESCRIPTION_FILE, source)
    (source / "tabular_mlp.wasm").write_bytes(small_component(len(columns["label"])))
    published = publish(make_party("provider"), source, tmp_path / "design.sealed")
    assert published.bundle.sandbox == "wasm"
    registered = let_train(make_party("owner"), published.party.identity.signing_key.party, columns, tmp_path)
    told = train(registered, published, WISHES)
    model, last = told[-1], [one.report for one in told if isinstance(one, e.ReportOpened)][-1]
    assert isinstance(model, e.ModelSealed), model
    assert (last.outcome, last.codes, last.rounds_delivered) == ("finished", (), (WISHES.rounds, WISHES.rounds))
    assert list((stack.state / "artefacts").iterdir()), "what was compiled is there for the next job"
    asker, grant = make_party("user"), tmp_path / "grant.json"
    key, terms = asker.identity.signing_key.party, granting.GrantTerms(len(held["label"]))
    e.outcome(granting.grant(registered.party, key, model.model_id, terms, grant), e.GrantSigned)
    answered = e.outcome(user.query(asker, Signed.decode(grant.read_bytes()), held["features"]), e.Answered)
    assert answered.answered_by == "graph"
    assert np.mean(np.array(answered.labels) == held["label"]) > 0.9


def let_train(party: Party, provider: PartyKey, columns: dict[str, NDArray[Any]], place: Path) -> Registered:
    """Seal, upload, and allow design code of this provider, and no other."""
    np.savez(place / "table.npz", allow_pickle=False, **columns)
    e.outcome(owner.seal(party, place / "table.npz", place / "table.sealed"), e.Sealed)
    dataset = e.outcome(owner.upload(party, place / "table.sealed"), e.DatasetRegistered)
    terms = PolicyTerms(providers=(provider,), sandboxes=("wasm",), max_jobs=3, answers_total=1000)
    e.outcome(owner.set_policy(party, dataset.dataset_id, terms), e.PolicySigned)
    return Registered(party, dataset)
