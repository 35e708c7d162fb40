import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import FormatError
from services.attestation.settings import AttestationSettings

WITNESS = "ab" * 32
GOOD = {
    "state_directory": "/s", "listen_port": 1, "launcher": "/l", "release_file": "/r", "witnesses": [WITNESS],
    "witness_quorum": 1, "redis_url": "of another service", "database_url": "sqlite://",
}  # fmt: skip


def read(directory: Path, **changes: Any) -> AttestationSettings:
    path = directory / "settings.json"
    path.write_text(json.dumps(GOOD | changes))
    path.chmod(0o600)
    return AttestationSettings.read(path)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    read(tmp_path)
    (tmp_path / "settings.json").chmod(0o640)
    with pytest.raises(FormatError) as refusal:
        AttestationSettings.read(tmp_path / "settings.json")
    assert "0600" in str(refusal.value.expected)


def test_only_where_earlier_builds_are_named_is_there_a_handover(tmp_path: Path) -> None:
    assert read(tmp_path).handover(tmp_path, read(tmp_path).collateral()) is None
    settings = read(tmp_path, predecessors=[{"launcher": "/l0", "release_file": "/r0"}], state_directory=str(tmp_path))
    plan = settings.handover(tmp_path, settings.collateral())
    assert plan is not None
    assert (plan.predecessors[0].launcher, plan.release_file) == (Path("/l0"), Path("/r"))
    assert not plan.leave_behind


def test_a_broker_is_started_with_its_witnesses(tmp_path: Path) -> None:
    start = read(tmp_path).start
    assert (start.witnesses, start.witness_quorum) == ((WITNESS,), 1)
    assert read(tmp_path, witnesses=[], witness_quorum=0).start.witnesses == ()
    assert read(tmp_path, witnesses=[WITNESS, "cd" * 32, "ef" * 32], witness_quorum=2).start.witness_quorum == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"witness_quorum": 2},
        {"witness_quorum": 0},
        {"witnesses": []},
        {"witnesses": [WITNESS, WITNESS]},
        {"witness_quorum": -1},
        {"witnesses": [WITNESS, "cd" * 32]},
        {"witnesses": [WITNESS, "cd" * 32, "ef" * 32, "01" * 32], "witness_quorum": 2},
    ],
)
def test_a_quorum_that_means_nothing_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="format.message"):
        _ = read(tmp_path, **changes).start


def test_what_is_wrong_is_named_without_its_value(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as refusal:
        read(tmp_path, witnesses=["a secret"])
    assert "witnesses" in str(refusal.value.seen)
    assert "a secret" not in refusal.value.in_full()
    with pytest.raises(FormatError):
        AttestationSettings.read(tmp_path / "none.json")


def test_what_is_recovered_from_is_not_ones_own_state(tmp_path: Path) -> None:
    assert read(tmp_path, recover_from="/copy").recover_from == Path("/copy")
    for own in ("/s", "/s/broker", "/x/../s/broker"):
        with pytest.raises(FormatError):
            read(tmp_path, recover_from=own)
