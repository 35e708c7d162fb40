"""A report has one length in a job, and tells of every slot that an order may have."""

import pytest

from common.crypto.digests import sha256
from common.crypto.wrapping import WrappingKey
from common.exchange.payloads import OUTCOME_CODES
from common.exchange.schedule import REPORT_BYTES, REPORT_SLOT_BYTES, report_bytes
from common.identifiers import JobId, PartyKey
from common.key_binding import report_info
from common.messages.policy import Int8Told, JobReport
from services.paramserver.reporting import ReportReaders
from tests.vectors.sample_documents import TOLD

ORDER = sha256(b"an order")
OWNER = PartyKey("1" * 64)
LONGEST_CODE = max((code for code in OUTCOME_CODES if code is not None), key=len)
MOST = 1 << 31
LONGEST_INT8 = Int8Told(
    kept=False, finding="unsupported", rows=1 << 31, float32_percent=12.345678901234567, int8_percent=12.345678901234567
)


def longest(trainers: int) -> JobReport:
    """Every field as long as it gets."""
    return JobReport(
        job_id=JobId.of(ORDER), sequence=MOST, tick=MOST, total_ticks=MOST, round=MOST, loss=-1.2345678901234567e-300,
        members_live=trainers, real_frames=1 << 42, dummy_frames=1 << 42, refused_frames=1 << 42,
        outcome="finished_short", codes=(LONGEST_CODE,) * trainers, rounds_delivered=(MOST,) * trainers,
        told_provider=TOLD, toolchain="fp32", epochs=MOST, epoch_loss=-1.2345678901234567e-300, members_needed=trainers,
        read_chunks=1 << 42, int8=LONGEST_INT8,
    )  # fmt: skip


def shortest() -> JobReport:
    return JobReport(
        job_id=JobId.of(ORDER), sequence=MOST, tick=0, total_ticks=1, round=0, loss=None, members_live=0,
        real_frames=0, dummy_frames=0, refused_frames=0,
    )  # fmt: skip


@pytest.mark.parametrize("trainers", [1, 16, 17, 1024])
def test_the_longest_report_has_the_length_of_the_shortest(trainers: int) -> None:
    key = WrappingKey.generate()
    readers = ReportReaders(ORDER, trainers, {OWNER: key.public})
    sealed = [readers.seal(JobId.of(ORDER), one)[0] for one in (longest(trainers), shortest())]
    assert len({len(one.encode()) for one in sealed}) == 1
    opened = key.open(sealed[0].sealed, report_info(ORDER, OWNER, MOST))
    assert len(opened) == report_bytes(trainers)
    assert JobReport.decode(opened) == longest(trainers)


def test_reports_of_few_trainers_are_as_long_as_ever() -> None:
    assert [report_bytes(trainers) - REPORT_BYTES for trainers in (1, 16, 18)] == [0, 0, 2 * REPORT_SLOT_BYTES]
