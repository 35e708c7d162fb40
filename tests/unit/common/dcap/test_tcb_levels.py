"""Which TCB level a platform is given: ours against the engine's, on documents made for each turn of the rules."""

from itertools import product
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.dcap import verification
from common.dcap.engine import verify_with_engine
from common.dcap.exposed_quote import verify_by_ourselves
from common.dcap.exposure import NOT_EXPOSED
from common.errors import Refusal
from common.messages.tcb_terms import TcbStatus
from tests.fakes.evidence_forge import KINDS, Forge, FullEvidence, Kind
from tests.fakes.tdx_quotes import tdx_tcb_info_fields

NEWEST, OLDER, OLDEST = "2024-03-13T00:00:00Z", "2023-08-09T00:00:00Z", "2022-11-09T00:00:00Z"
STATUSES: Final = tuple(status for status in TcbStatus if "Relaunch" not in status)
SVNS: Final = ([5, 1, 7], [4, 1, 7], [5, 1, 6], [4, 1, 6], [2, 1, 3], [5, 1, 2], [1, 1, 7], [5, 1, 1], [4, 0, 6],
               [5, 0, 6], [9, 0, 9], [5, 2, 7], [5, 3, 7])  # fmt: skip


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge.make(tmp_path_factory.mktemp("platform") / "cpu")


def both_say(forge: Forge, evidence: FullEvidence) -> Any:
    """What both say, which must be the same: claims, or the code of a refusal."""
    root = forge.platform.pki.root.certificate.public_bytes(Encoding.DER)
    said: list[Any] = []
    for verify in (verify_with_engine, verify_by_ourselves):
        try:
            verified = verify(evidence.quote, evidence.collateral, root, forge.time)
            said.append(verification._machine(verified, NOT_EXPOSED))
        except Refusal as refusal:
            said.append(refusal.code)
    assert said[0] == said[1]
    return said[0]


def entries(forge: Forge, *levels: tuple[list[int], TcbStatus, str, int]) -> list[Any]:
    """TCB levels of a domain: its first components, status, date, PCESVN."""
    base: Any = tdx_tcb_info_fields(forge.at)["tcbLevels"]
    return [
        base[0] | {
            "tcb": base[0]["tcb"] | {
                "tdxtcbcomponents": [{"svn": svn} for svn in components + [0] * (16 - len(components))],
                "pcesvn": pce,
            },
            "tcbStatus": status, "tcbDate": date, "advisoryIDs": [f"INTEL-SA-0000{number}", "INTEL-SA-00099"],
        }
        for number, (components, status, date, pce) in enumerate(levels)
    ]  # fmt: skip


def modules(*levels: tuple[int, TcbStatus, str], **changes: str) -> list[Any]:
    fields = {"id": "TDX_01", "mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8} | changes
    of = [
        {"tcb": {"isvsvn": svn}, "tcbDate": date, "tcbStatus": status, "advisoryIDs": [f"INTEL-SA-0001{number}"]}
        for number, (svn, status, date) in enumerate(levels)
    ]
    return [{**fields, "id": "TDX_03", "tcbLevels": of[:1]}, {**fields, "tcbLevels": of}]


def report(forge: Forge, launched: list[int], current: list[int] | None = None) -> bytes:
    body = forge.td_report(tee_svn=bytes(launched + [0] * (16 - len(launched))))
    if current is None or not forge.extended:
        return body
    return body[:584] + bytes(current + [0] * (16 - len(current))) + body[600:]


UP, OLD = TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE
MODULES: Final = modules((5, UP, NEWEST), (4, OLD, OLDER), (2, OLD, OLDEST))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_components_and_modules(forge: Forge, kind: Kind) -> None:
    of = forge.of(kind)
    levels = entries(of, ([5, 1, 7], UP, NEWEST, 13), ([9, 0, 9], UP, NEWEST, 13), ([4, 1, 6], OLD, OLDER, 13),
                     ([2, 1, 2], TcbStatus.SW_HARDENING_NEEDED, OLDEST, 11))  # fmt: skip
    seen = set()
    for order in (levels, levels[::-1]):
        made = of.tcb_info(tcbLevels=order, tdxModuleIdentities=MODULES)
        for launched in SVNS:
            seen.add(str(both_say(of, of.evidence(report=report(of, launched), collateral=made))))
    assert len(seen) > 5


def test_a_domain_to_launch_again(forge: Forge) -> None:
    """Each status of the level it was launched at with each of the one that the machine is at by now."""
    of = forge.of("tdx v5 of TD 1.5")
    seen = set()
    for newest, older in product(STATUSES, STATUSES):
        levels = entries(of, ([5, 1, 7], newest, NEWEST, 13), ([4, 1, 6], older, OLDER, 13))
        made = of.tcb_info(tcbLevels=levels, tdxModuleIdentities=MODULES)
        for launched, current in (([5, 1, 6], [5, 1, 7]), ([4, 1, 6], [5, 1, 7]), ([5, 1, 7], [4, 1, 6])):
            said = both_say(of, of.evidence(report=report(of, launched, current), collateral=made))
            seen.add(getattr(said, "tcb_status", said))
    assert {TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED} <= seen
    assert seen >= {*STATUSES, "appraisal.tcb_status"} - {TcbStatus.REVOKED}


def test_what_the_machine_is_at_by_now_must_be_known(forge: Forge) -> None:
    of = forge.of("tdx v5 of TD 1.5")
    made = of.tcb_info(tcbLevels=entries(of, ([5, 1, 7], UP, NEWEST, 13), ([4, 1, 6], OLD, OLDER, 13)),
                       tdxModuleIdentities=MODULES)  # fmt: skip
    for current in ([5, 1, 1], [5, 0, 7], [5, 2, 7], [1, 1, 7], [0, 0, 0], [5, 1, 8]):
        said = both_say(of, of.evidence(report=report(of, [5, 1, 6], current), collateral=made))
        assert (said == "authenticity.quote") == (current != [5, 1, 8])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [UP, OLD, TcbStatus.REVOKED])
def test_a_quoting_enclave_is_part_of_the_whole(forge: Forge, kind: Kind, status: TcbStatus) -> None:
    of = forge.of(kind)
    entry = {"tcb": {"isvsvn": 8}, "tcbDate": OLDEST, "tcbStatus": status, "advisoryIDs": ["INTEL-SA-00099"]}
    of_qe = of.qe_identity(tcbLevels=[{**entry, "tcb": {"isvsvn": 9}}, entry])
    said = both_say(of, of.evidence(collateral=of_qe))
    assert getattr(said, "tcb_status", said) == ("appraisal.tcb_status" if status is TcbStatus.REVOKED else status)
    below = of.qe_identity(tcbLevels=[{**entry, "tcb": {"isvsvn": 9}}])
    assert both_say(of, of.evidence(collateral=below)) == "authenticity.quote"
    if not of.is_tdx:
        return
    for level in STATUSES:
        levels = entries(of, ([4, 1, 2], level, NEWEST, 13))
        made = of.tcb_info(tcbLevels=levels, tdxModuleIdentities=modules((4, UP, OLDER)))
        both_say(of, of.evidence(collateral={**made, **of_qe}))


@pytest.mark.parametrize("status", [TcbStatus.SW_HARDENING_NEEDED, TcbStatus.CONFIGURATION_NEEDED])
def test_a_part_of_a_status_that_parts_have_not_is_refused(forge: Forge, status: TcbStatus) -> None:
    """The engine takes some of them for up to date; nobody has seen one of Intel's."""
    of = forge.of("tdx v4")
    root = of.platform.pki.root.certificate.public_bytes(Encoding.DER)
    entry = {"tcb": {"isvsvn": 4}, "tcbDate": OLDEST, "tcbStatus": status}
    for made in (of.qe_identity(tcbLevels=[entry]), of.tcb_info(tdxModuleIdentities=modules((4, status, OLDER)))):
        evidence = of.evidence(collateral=made)
        with pytest.raises(Refusal, match=r"authenticity\.quote"):
            verify_by_ourselves(evidence.quote, evidence.collateral, root, of.time)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_module_is_the_one_that_tcb_info_knows(forge: Forge, kind: Kind) -> None:
    of = forge.of(kind)
    for changes, attributes in (
        ({}, 0), ({}, 1), ({"attributes": "01" + "00" * 7}, 1), ({"attributesMask": "FE" + "FF" * 7}, 1),
        ({"mrsigner": "11" * 48}, 0), ({"id": "tdx_01"}, 0), ({"id": "TDX_02"}, 0),
    ):  # fmt: skip
        body = bytearray(of.td_report())
        body[112] = attributes
        made = of.tcb_info(tdxModuleIdentities=modules((4, UP, NEWEST), **changes))
        both_say(of, of.evidence(report=bytes(body), collateral=made))
    assert isinstance(both_say(of, of.evidence(collateral=of.tcb_info(tdxModuleIdentities=[]))), str)
    broken: Any
    for broken in ({"tcbLevels": []}, {"tdxModuleIdentities": [{}]}, {"tcbLevels": [{"tcb": {}}]}):
        assert isinstance(both_say(of, of.evidence(collateral=of.tcb_info(**broken))), str)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_are_the_lesser_one(forge: Forge, kind: Kind) -> None:
    of = forge.of(kind)
    for numbers in ((12, 18), (18, 12)):
        made = {**of.tcb_info(tcbEvaluationDataNumber=numbers[0]), **of.qe_identity(tcbEvaluationDataNumber=numbers[1])}
        assert both_say(of, of.evidence(collateral=made)).tcb_evaluation == 12
