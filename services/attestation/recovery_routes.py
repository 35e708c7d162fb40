"""HTTP routes by which data sets of a broker that is gone come to this one (side: host).

GET  /v1/recovery/DATASET   the recovery package, of the old broker if its state directory is here, else of this one
POST /v1/recovery/DATASET   RecoveryWords -> encoded Signed(BrokerReply): package and log are laid to what was brought

The old state directory is a copy of what the other machine kept. Nobody believes what is laid here: the enclave checks.
"""

import secrets
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from common.errors import NotFoundError
from common.identifiers import DatasetId
from common.messages.broker_exchange import BrokerRequest
from common.messages.recovery import MAX_LATER_ENTRIES, RecoverDataset, RecoveryWords
from common.messages.recovery_package import RecoveryPackage, Retirement
from common.messages.signed import Signed
from common.untrusted.http_description import describe
from common.untrusted.http_refusals import JSON, OCTETS
from services.attestation.log_store import LogStore
from services.attestation.relay import BrokerRelay
from services.attestation.state_files import StateFiles
from services.attestation.strangers import Strangers

NONCE_BYTES: Final = 32

MAX_WORDS_BYTES: Final = 1 << 18
"""Of 15 holders and their witnesses, whose words take some 4 KiB each."""


class Predecessor:
    """The state directory of the broker that is over."""

    def __init__(self, directory: Path) -> None:
        self.files = StateFiles(directory)
        self._log = LogStore(self.files)

    def request(self, dataset_id: DatasetId, words: RecoveryWords) -> RecoverDataset:
        """The whole request: the package, what was brought, and the log between it and the witnesses' newest head."""
        document = Signed.decode(self.files.recovery.read(dataset_id))
        made_at = RecoveryPackage.decode(document.payload).head.size
        known = max((Retirement.decode(one.payload).head.size for one in words.retirements), default=made_at)
        end = min(known, self.files.entry_count, made_at + MAX_LATER_ENTRIES)
        newer = 0 < known < made_at <= self._log.size
        return RecoverDataset(
            package=document,
            shares=words.shares,
            retirements=words.retirements,
            later=tuple(self.files.read_entry(number) for number in range(made_at, end)),
            path=self._log.consistency(known, made_at).path if newer else (),
        )


def recovery_router(relay: BrokerRelay, state: Path | None, strangers: Strangers) -> APIRouter:
    """The routes; `state` is the old state directory, if there is one. Holders are enrolled nowhere."""
    router = APIRouter(prefix="/v1/recovery")
    predecessor = None if state is None else Predecessor(state)

    def carried(dataset_id: DatasetId, raw: bytes) -> bytes:
        words = RecoveryWords.decode(raw)
        if predecessor is None:
            raise NotFoundError("not_found.recovery", expected="an old state directory")
        body = predecessor.request(dataset_id, words)
        return relay.ask(BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=body).encode())

    @router.get("/{dataset_id}", dependencies=[Depends(strangers.admit)], openapi_extra=describe(gives=Signed))
    def package(dataset_id: DatasetId) -> Response:
        files = relay.files if predecessor is None else predecessor.files
        return Response(files.recovery.read(dataset_id), media_type=JSON)

    @router.post("/{dataset_id}", openapi_extra=describe(takes=RecoveryWords, gives=Signed, media_type=OCTETS))
    async def recover(dataset_id: DatasetId, request: Request) -> Response:
        async with strangers.body(request, MAX_WORDS_BYTES) as raw:
            return Response(await run_in_threadpool(carried, dataset_id, raw), media_type=OCTETS)

    return router
