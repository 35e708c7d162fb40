"""The recovery key's file is its holder's alone, apart from the identity's, and is never taken for another."""

import json
from pathlib import Path

import pytest

from common.crypto.key_file import Identity
from common.crypto.recovery_key import RecoveryKey
from common.errors import FormatError
from common.identifiers import PartyKey
from common.messages.identity import IdentityCard, RecoveryStatement
from common.messages.signed import Signature, Signed, require_right_signatures

PARTY = PartyKey("a1" * 32)


def test_a_file_gives_the_same_key_back(tmp_path: Path) -> None:
    path, key = tmp_path / "ann.recovery", RecoveryKey.generate(PARTY)
    key.write(path)
    again = RecoveryKey.read(path)
    assert (again.party, again.public) == (PARTY, key.public)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        key.write(path)


def test_other_files_are_refused_and_quoted_nowhere(tmp_path: Path) -> None:
    path, key = tmp_path / "ann.recovery", RecoveryKey.generate(PARTY)
    key.write(path)
    seed = json.loads(path.read_text())["recovery_seed"]
    path.chmod(0o644)
    identity = tmp_path / "identity.json"
    Identity.generate("ann", unsafe_simulation=True).write(identity)
    for file in (path, identity, tmp_path / "nowhere"):
        with pytest.raises(FormatError) as refused:
            RecoveryKey.read(file)
        assert seed not in refused.value.in_full()
    assert seed not in repr(key)
    with pytest.raises(FormatError):
        Identity.read(path)


def test_it_signs_two_kinds_of_document_alone() -> None:
    key, payload = RecoveryKey.generate(PARTY), b"{}"
    kinds = {"identity-card": key.sign_card(payload), "recovery-statement": key.sign_statement(payload)}
    assert set(kinds) == {one.model_fields["type"].default for one in (IdentityCard, RecoveryStatement)}
    for kind, signature in kinds.items():
        signatures = (Signature(signer=key.public, signature=signature),)
        require_right_signatures(Signed(payload_type=kind, payload=payload, signatures=signatures))
