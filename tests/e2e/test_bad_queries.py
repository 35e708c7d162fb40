"""Queries and grants that are refused, by the user's own checks or sealed inside the answer."""

import time
from pathlib import Path

import numpy as np
import pytest

from client import granting, user
from client.digits import DigitsFiles
from client.query_rows import read_rows
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, NotFoundError, PolicyError
from common.identifiers import Digest, ModelId
from common.messages.policy import QueryGrant
from common.messages.signed import sign
from tests.e2e.conftest import Finished, MakeParty, let_ask

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.usefixtures("many_jobs")]

IMAGES = np.zeros((2, 8, 8), np.uint8)


def test_a_grant_is_used_up_row_by_row(finished: Finished, make_party: MakeParty, tmp_path: Path) -> None:
    asker = make_party("user")
    grant = let_ask(finished, asker, tmp_path / "grant.json", answers=3)
    session = user.open_session(asker, grant)
    assert session.ask(IMAGES).answers_left == 1
    with pytest.raises(PolicyError, match="policy.budget"):
        session.ask(IMAGES)
    assert session.ask(IMAGES[:1]).answers_left == 0
    with pytest.raises(PolicyError, match="policy.budget"):
        user.open_session(asker, grant).ask(IMAGES[:1])


@pytest.mark.parametrize(
    "rows", [np.zeros((1, 8, 7), np.uint8), np.zeros((1, 8, 8), np.float32), np.zeros((0, 8, 8), np.uint8)]
)
def test_rows_of_another_shape_or_type_are_refused(
    finished: Finished, make_party: MakeParty, tmp_path: Path, rows: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
) -> None:
    asker = make_party("user")
    session = user.open_session(asker, let_ask(finished, asker, tmp_path / "grant.json", answers=3))
    with pytest.raises(FormatError, match="format.query") as caught:
        session.ask(rows)
    assert "8, 8" in str(caught.value.expected)


def test_the_same_enclave_with_another_model_is_refused(
    finished: Finished, make_party: MakeParty, tmp_path: Path
) -> None:
    asker = make_party("user")
    grant = let_ask(finished, asker, tmp_path / "grant.json", answers=3, manifest=Digest("1" * 64))
    with pytest.raises(AppraisalError, match="appraisal.placement"):
        user.open_session(asker, grant)


def test_an_expired_grant_is_refused(finished: Finished, make_party: MakeParty, tmp_path: Path) -> None:
    asker = make_party("user")
    grant = let_ask(finished, asker, tmp_path / "grant.json", answers=3, not_after=int(time.time()) - 10)
    with pytest.raises(FreshnessError, match="freshness.grant"):
        user.open_session(asker, grant)


def test_a_grant_for_somebody_else_is_refused(finished: Finished, make_party: MakeParty, tmp_path: Path) -> None:
    asker, thief = make_party("user"), make_party("thief")
    with pytest.raises((PolicyError, AuthenticityError)):
        user.open_session(thief, let_ask(finished, asker, tmp_path / "grant.json", answers=3))


def test_a_grant_that_the_owner_did_not_sign_is_refused(
    finished: Finished, make_party: MakeParty, tmp_path: Path
) -> None:
    forger = make_party("forger")
    grant = let_ask(finished, forger, tmp_path / "grant.json", answers=3)
    forged = sign(QueryGrant.decode(grant.payload), forger.identity.signing_key)
    with pytest.raises((PolicyError, AuthenticityError)):
        user.open_session(forger, forged)


def test_unknown_models_are_not_granted(finished: Finished, make_party: MakeParty, tmp_path: Path) -> None:
    asker = make_party("user").identity.signing_key.party
    nowhere = ModelId("model_" + "0" * 32)
    with pytest.raises(NotFoundError, match="not_found.model"):
        list(granting.grant(finished.owner, asker, nowhere, granting.GrantTerms(1), tmp_path / "grant.json"))


def test_files_that_are_no_arrays_are_refused(tmp_path: Path, digits: DigitsFiles) -> None:
    text = tmp_path / "rows.npy"
    text.write_text("no array")
    with pytest.raises(FormatError, match="format.query"):
        read_rows(text)
    with pytest.raises(FormatError, match="format.query"):
        read_rows(digits.held_out)
