"""The end of a job: seal the model, tell the broker, and only then say that it is over (side: enclave).

Holds: the launch's keys, the final state.  Reads: the broker's signed answers.  Sends: ciphertext, a signed manifest.

Store and broker may be away at this very moment, after all the work: each step is tried again for `PERSIST_SECONDS`.
The model leaves at a `Release`: whether it has a graph, which takes time to check, must not show in when.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

import numpy as np

from common.bundle import DESIGN_ENTRY, BundleManifest
from common.door_objects import DoorObjects
from common.errors import UnavailableError
from common.exchange.clock import Now, Release, Waiting
from common.exchange.payloads import StateP
from common.identifiers import ModelId, PartyKey
from common.key_retrieval import BrokerChannel, Launch
from common.messages.jobs import Completed, CompleteJob
from common.messages.policy import Int8Told
from common.messages.signed import Signed
from common.sealed_object import ObjectKind, seal_object
from services.paramserver.job import ParameterServerJob
from services.paramserver.model_sealing import FinishedJob, agreed_graph, encode_final_state, sign_manifest
from services.paramserver.verdict import Verdict

PERSIST_SECONDS: Final = 600.0
PERSIST_PAUSE_SECONDS: Final = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class JobEnd:
    """How a job ended in public, its model, the sealed report to its provider, and what owners read of int8."""

    outcome: Literal["finished", "failed", "cancelled"]
    code: str | None = None
    manifest: Signed | None = None
    model_id: ModelId | None = None
    provider: PartyKey | None = None
    provider_report: bytes | None = None
    int8: Int8Told | None = None


@dataclass(frozen=True)
class Patience:
    """Does a thing again and again while what it needs is away."""

    now: Now
    wait: Waiting

    def persist(self, action: Callable[[], T]) -> T:
        """The action's result. Raises `UnavailableError` or `TimeoutError` when patience ends."""
        give_up = self.now() + PERSIST_SECONDS
        while True:
            try:
                return action()
            except (UnavailableError, TimeoutError):
                if self.now() > give_up or self.wait(PERSIST_PAUSE_SECONDS):
                    raise


@dataclass(frozen=True)
class JobEnding:
    """Ends the job of one launch."""

    launch: Launch
    channel: BrokerChannel
    objects: DoorObjects
    patience: Patience
    release: Release

    def cancelled(self) -> JobEnd:
        """The broker says that a party ended the job: there is no model."""
        return JobEnd("cancelled", "policy.revoked")

    def end(self, job: ParameterServerJob, layout: BundleManifest | None) -> JobEnd:
        """Seal what was learned; where nothing was, a model of the same size, so that the host can't tell.

        Only a bundle that is none fails in public: that was so before any data came in. Raises the broker's or the
        store's refusal.
        """
        state_class = self.launch.order.schedule.state_class
        if layout is None or layout.state_count > state_class:
            return self._complete(JobEnd("failed", "format.bundle"))
        learned_P = job.state_P if job.counts else None
        state_P = np.zeros(state_class, np.float32) if learned_P is None else learned_P
        document = job.design if layout.designs else agreed_graph(job.members.graphs(), layout)
        verdict = self._judge(job, layout, document)
        manifest = self._seal(job, state_P, layout, document, verdict)
        return replace(self._complete(JobEnd("finished", None, manifest)), int8=verdict.told)

    def _judge(self, job: ParameterServerJob, layout: BundleManifest, document: bytes | None) -> Verdict:
        """Whether the model is answered in int8. `document` was checked; what members said of it is what was judged."""
        terms = self.launch.order.answers
        if terms.lowest != "int8":
            return Verdict()
        said = document if document is None or layout.designs else next(iter(job.members.graphs()))
        if layout.entry == DESIGN_ENTRY:
            said = b""
        return Verdict.of_payload(terms, job.quantised, said, job.state_P if job.counts else None)

    def _seal(
        self, job: ParameterServerJob, state_P: StateP, layout: BundleManifest, document: bytes | None, verdict: Verdict
    ) -> Signed:
        payload, weights = encode_final_state(state_P, layout, document, verdict.sealed)
        sealed = seal_object(payload, self.launch.keys["model"], ObjectKind.MODEL)
        self.release()
        reference = self.patience.persist(lambda: self.objects.store(sealed))
        mode, now = job.toolchain.mode.word, int(time.time())
        finished = FinishedJob(self.launch.terms, self.launch.order, job.members.records(), now, mode)
        return sign_manifest(finished, reference, weights, self.launch.signing_key)

    def _complete(self, end: JobEnd) -> JobEnd:
        digest = end.manifest.digest if end.manifest else None
        asked = CompleteJob.model_validate({
            "job_id": self.launch.terms.job_id, "outcome": end.outcome, "manifest": end.manifest,
            "statement": self.launch.state_completion(end.outcome, digest),
        })  # fmt: skip
        completed = self.patience.persist(lambda: self.channel.ask(asked, Completed))
        return JobEnd(end.outcome, end.code, end.manifest, completed.model_id)
