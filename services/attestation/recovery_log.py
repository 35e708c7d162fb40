"""Is a recovery package the newest word about its data set? (side: enclave)

The witnesses of the broker that made it know how far its log went, and confirm nothing of it any more. What stands in
the log between the package and that, the host brings: it is held against the head that they have signed. In this order,
each raises:

  (1) a quorum of the witnesses in that broker's genesis has retired it, each in favour of this broker alone, which
      nobody guards but witnesses (TPMs included) of that one, by as large a quorum: recovery does not change whom
      owners rely on;
  (2) the package's head, and every head that they have seen since, is one of one log that ends with the newest of
      these; a package that is newer than all of them begins with the newest;
  (3) nothing was decided since that may have changed what is in the package.

So an older package, and one of a broker that was rewound, is refused, and with it whatever it would revive. What stands
in the log and was never confirmed counts like the rest: it is spent. What is *not* checked: that the genesis is that of
a genuine broker. The holders say so who name it (`recovery`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from common.crypto.merkle import MerkleFrontier
from common.crypto.merkle_proofs import verify_consistency
from common.errors import AuthenticityError, FreshnessError, PolicyError
from common.identifiers import Digest, PartyKey
from common.messages.broker_identity import Genesis
from common.messages.collateral import Marks
from common.messages.decision_log import MAX_ENTRY_BYTES, LogEntry
from common.messages.log_heads import LogHead
from common.messages.recovery import RecoverDataset
from common.messages.recovery_package import RecoveryPackage, Retirement
from common.messages.signed import Signed, open_signed
from common.transparency import log_leaf
from services.attestation.recovery_packages import changes_dataset

_CODE = "freshness.recovery"


class LastWords(NamedTuple):
    """The newest head that the witnesses know, and what each remembers of collateral."""

    head: LogHead
    collateral: Mapping[PartyKey, Marks]


def require_newest(package: RecoveryPackage, body: RecoverDataset, successor: Genesis) -> LastWords:
    """Checks (1) to (3); what the witnesses know.

    Raises `AuthenticityError` (1), `PolicyError` (1: policy.witnesses), `FreshnessError` (freshness.recovery) or
    `FormatError`.
    """
    words = _words_of_witnesses(package.broker, body.retirements, successor.digest)  # (1)
    _require_guarded_alike(package.broker, successor)
    heads = [word.head for word in words.values()]
    newest = max(heads, key=lambda head: head.size)
    told = LastWords(newest, {witness: word.collateral for witness, word in words.items()})
    if newest.size < package.head.size:
        _require_begins_with(package, newest, body)  # (2)
        return told
    roots = _roots_after(package, body.later)  # (2), (3)
    if max(roots) != newest.size:
        raise FreshnessError(_CODE, expected=f"the log up to size {newest.size}", seen=f"up to size {max(roots)}")
    for head in heads:
        if head.size >= package.head.size and roots[head.size] != head.root:
            raise FreshnessError(_CODE, expected=f"root {head.root} at size {head.size}", seen="another log")
    return told


def _words_of_witnesses(
    genesis: Genesis, retirements: Sequence[Signed], successor: Digest
) -> dict[PartyKey, Retirement]:
    words = dict[PartyKey, Retirement]()
    for document in retirements:
        word = open_signed(document, Retirement, genesis.witnesses)
        if (word.broker, word.successor) != (genesis.digest, successor):
            expected = f"the end of {genesis.digest} in favour of {successor}"
            raise FreshnessError(_CODE, expected=expected, seen=f"{word.broker} in favour of {word.successor}")
        signers = {one.signer for one in document.signatures} & set(genesis.witnesses)
        words |= dict.fromkeys(signers, word)
    if not genesis.witness_quorum or len(words) < genesis.witness_quorum:
        needed = genesis.witness_quorum or "a broker that had witnesses"
        raise FreshnessError(_CODE, expected=f"witnesses: {needed}", seen=len(words))
    return words


def _require_guarded_alike(before: Genesis, successor: Genesis) -> None:
    guards, known, quorum = _guards(successor), _guards(before), successor.witness_quorum
    if not guards <= known or quorum < before.witness_quorum:
        expected = f"{before.witness_quorum} of {sorted(known)}, or of some of them"
        raise PolicyError("policy.witnesses", expected=expected, seen=f"{quorum} of {sorted(guards)}")


def _guards(genesis: Genesis) -> set[str]:
    """Whoever counts for the quorum: witnesses by their keys, TPMs by their endorsement keys."""
    return {*genesis.witnesses, *(one.endorsement_key for one in genesis.tpm_counters)}


def _require_begins_with(package: RecoveryPackage, newest: LogHead, body: RecoverDataset) -> None:
    try:
        verify_consistency(newest.size, newest.root, package.head.size, package.head.root, body.path)
    except AuthenticityError as cause:
        raise FreshnessError(_CODE, expected=f"a log that begins with {newest.size} entries that are known") from cause


def _roots_after(package: RecoveryPackage, later: Sequence[bytes]) -> dict[int, Digest]:
    """The log's root by size, from the package's head on. Check (3) for each entry."""
    try:
        tree = MerkleFrontier(package.head.size, package.peaks)
    except ValueError as cause:
        raise FreshnessError(_CODE, expected="the peaks of the package's head") from cause
    roots = {tree.size: tree.root()}
    if roots[tree.size] != package.head.root:
        raise FreshnessError(_CODE, expected="the peaks of the package's head")
    for raw in later:
        entry = LogEntry.decode(raw, limit=MAX_ENTRY_BYTES)
        if changes_dataset(entry.decision, entry.code, entry.subjects, package.dataset_id):  # (3)
            seen = f"{entry.decision}, entry {tree.size}"
            raise FreshnessError(_CODE, expected=f"nothing decided about {package.dataset_id} since", seen=seen)
        tree.append(log_leaf(raw))
        roots[tree.size] = tree.root()
    return roots
