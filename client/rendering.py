"""Events as a person reads them, or as JSON lines for a program (side: owner).

The only place of the command line that knows how an event looks. Results go to stdout, refusals to stderr.
"""

import json
import time
from datetime import UTC, datetime
from functools import singledispatchmethod
from typing import Final, Protocol

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from client import events as e
from client.checking.rendering import CheckTold, check_lines
from client.joint_rendering import JointTold, joint_lines
from client.log_words import entry_details, entry_summary
from client.policy_rendering import PolicyTold, policy_lines
from client.recovery_rendering import RecoveryTold, recovery_lines
from common.errors import CloisterError, Refusal
from common.messages.evidence import TrustLevel
from common.messages.provider_report import ToldToProvider

LABELS_SHOWN: Final = 30


class Show(Protocol):
    """Whoever wants to see events."""

    def show(self, event: e.Event) -> None:
        """One event, when it happens."""

    def refused(self, error: CloisterError) -> None:
        """The operation ended in a refusal."""

    def close(self) -> None:
        """No more events."""


class JsonLines:
    """One JSON object a line on stdout, refusals included: `{"type": "refused", "code": ..., ...}`."""

    def show(self, event: e.Event) -> None:
        """The event as it is."""
        print(event.encode().decode(), flush=True)

    def refused(self, error: CloisterError) -> None:
        """Code, mender, mend; expected and seen are the party's own, on its own machine."""
        fields = {"type": "refused", "text": str(error)}
        if isinstance(error, Refusal):
            fields |= {"code": error.code, "mender": error.mender, "mend": error.mend}
            fields |= {"expected": error.expected or "", "seen": error.seen or ""}
        print(json.dumps(fields, ensure_ascii=False, separators=(",", ":")), flush=True)

    def close(self) -> None:
        """Nothing is pending."""


def _told_words(told: ToldToProvider) -> str:
    refused = [f"{name} ({level})" for name, level in told.refused if level != "none"]
    return f"{told.learned}; refused calls: {', '.join(refused) or 'none'}"


def trust_words(level: str) -> Panel:
    """A trust level in words that nobody can overlook."""
    if level == TrustLevel.SIMULATION:
        return Panel(
            "TRUST LEVEL: SIMULATION\nNo hardware protects this. Whoever runs the host can read everything.",
            style="bold white on red",
            expand=False,
        )
    return Panel(f"TRUST LEVEL: {level} (a hardware TEE)", style="bold white on green", expand=False)


def figures_table(event: e.DemoFinished) -> Table:
    """The demo's last word."""
    table = Table(title="One job, from sealed data to sealed answers", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "trust level",
        f"{event.trust_level.upper()}"
        + (" - no hardware protects this run" if event.trust_level == TrustLevel.SIMULATION else ""),
        style="red",
    )
    table.add_row("quotes verified by the parties", str(event.quotes_verified))
    for service, count in event.ciphertext_bytes.items():
        table.add_row(f"{service.replace('_', ' ')} saw", f"{count:,} bytes")
    table.add_row("", "of ciphertext and the public documents around it, as the host's own processes count them")
    table.add_row(
        "frames, as the enclave counted them",
        f"{event.real_frames:,} real, {event.dummy_frames:,} dummy "
        "(one size, one rate: the host can't tell them apart)",
    )
    table.add_row("accuracy of the sealed model", f"{event.accuracy_sealed:.4f}  ({event.trainers} trainers)")
    table.add_row("accuracy in plain torch", f"{event.accuracy_plain:.4f}  (same code, same rows)")
    table.add_row("wall time", f"{event.wall_seconds:.1f} s")
    return table


class Terminal:
    """Lines and progress bars with rich."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._ready: set[str] | None = None

    def refused(self, error: CloisterError) -> None:
        """What was refused, who can mend it and how, and what was expected and seen."""
        self.close()
        console = Console(stderr=True, highlight=False)
        if not isinstance(error, Refusal):
            console.print(f"[bold red]failed[/] {error}")
            return
        console.print(f"[bold red]refused[/] [bold]{error.code}[/]", soft_wrap=True)
        console.print(f"  who can mend it: {error.mender}\n  how: {error.mend}", soft_wrap=True)
        for name, value in (("expected", error.expected), ("seen", error.seen)):
            if value is not None:
                console.print(Text(f"  {name}: {value}"), soft_wrap=True)

    def close(self) -> None:
        """End the progress bars."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._tasks = None, {}

    def _line(self, mark: str, text: str, *, style: str = "") -> None:
        self.console.print(Text.assemble((f"{mark:>10} ", "bold cyan"), (text, style)), soft_wrap=True)

    def _stamp(self, trust_level: str) -> None:
        simulated = trust_level == TrustLevel.SIMULATION
        words = "SIMULATION: no hardware protects this; whoever runs the host can read it" if simulated else trust_level
        self._line("trust", words, style="bold red" if simulated else "bold green")

    def _advance(self, name: str, done: int, of: int, note: str = "") -> None:
        if not self.console.is_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.console,
            )
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=of, note=note)
        self._progress.update(self._tasks[name], completed=done, total=of, note=note)
        if done >= of and all(task.finished for task in self._progress.tasks):
            self.close()

    @singledispatchmethod
    def show(self, event: e.Event) -> None:
        """One event, when it happens."""
        self._line("event", event.encode().decode())

    @show.register
    def _(self, event: e.Noted) -> None:
        self._line("warning" if event.warning else "", event.text, style="bold yellow" if event.warning else "")

    @show.register
    def _(self, event: e.IdentityMade) -> None:
        self._line("identity", f"{event.name}  {event.party}  in {event.directory}")
        if event.unsafe_simulation:
            self._line(
                "UNSAFE",
                "this identity accepts SIMULATED platforms: whoever runs the host can read its data. "
                "Production key brokers refuse it.",
                style="bold white on red",
            )
        if event.recovery_key is None:
            self._line("warning", "no recovery key: nobody ends this identity when its key is stolen", style="red")
        else:
            self._line("recovery", f"{event.recovery_key}: move it to a medium that stays offline, now", style="bold")
            self._line("", "it revokes or replaces this identity, and does nothing else; daily work never needs it")

    @show.register
    def _(self, event: e.IdentityKnown) -> None:
        words = "without a recovery key, for good" if event.recovery is None else f"recovery key {event.recovery}"
        self._line("known", f"the key broker knows {event.party[:16]}...: {words}")

    @show.register
    def _(self, event: e.IdentityReplaced) -> None:
        self._line("replaced", f"{event.party} by {event.successor}")
        void = "all that it signed stands" if event.void_from is None else f"void from log entry {event.void_from} on"
        self._line("", f"{void}; {event.carried} documents and keys came along")
        self._line("", "name the new identity with --as from now on; sign grants anew")

    @show.register
    def _(self, event: e.RoleMeasured) -> None:
        verdict = (
            ""
            if event.released is None
            else ("  = release" if event.released == event.mr_enclave else f"  BUT the release says {event.released}")
        )
        platform = "" if event.platform == TrustLevel.SIMULATION else f"  on {event.platform}"
        self._line("measured", f"{event.role:<12} {event.mr_enclave}{platform}{verdict}")

    @show.register
    def _(self, event: e.SigstructRead) -> None:
        self._line("enclave", f"{event.mr_enclave}  {event.file}")
        self._line("signer", f"{event.mr_signer}  product {event.isv_prod_id}, security version {event.isv_svn}")
        if event.debug:
            self._line("DEBUG", "whoever runs the host reads such an enclave's memory", style="bold white on red")

    @show.register
    def _(self, event: e.QuoteVerified) -> None:
        self._line(
            "verified",
            f"quote of the {event.role} enclave {event.measurement[:16]}... ({event.trust_level})",
            style="green",
        )

    @show.register
    def _(self, event: e.RoleReleased) -> None:
        self._line("released", f"{event.role:<12} {event.platform:<11} {event.kind:<10} {event.code}")

    @show.register
    def _(self, event: e.ReleaseShown) -> None:
        self._line("release", f"{event.name} {event.tag}  in {event.file}")
        self._line("digest", event.digest, style="bold")

    @show.register
    def _(self, event: e.RevocationShown) -> None:
        self._line("revokes", f"release {event.release}  in {event.file}", style="bold red")
        if event.successor is not None:
            self._line("instead", f"release {event.successor}")
        self._line("digest", event.digest, style="bold")

    @show.register
    def _(self, event: e.InventoryShown) -> None:
        self._line("inventory", f"number {event.number}  in {event.file}", style="bold")
        for platform in event.platforms:
            self._line("known", platform)
        for platform in event.revoked:
            self._line("revoked", platform, style="bold red")
        self._line("digest", event.digest, style="bold")

    @show.register
    def _(self, event: e.InventoryInForce) -> None:
        until = time.strftime("%H:%M:%S", time.localtime(event.leases_end))
        self._line("in force", f"inventory {event.number}: no machine that it revokes holds a key after {until}")

    @show.register
    def _(self, event: e.SignaturesCounted) -> None:
        for signer in event.signed_by:
            self._line("signed by", signer)
        for signer in event.outsiders:
            self._line("and by", f"{signer}, which is no release key", style="yellow")
        missing = f"signatures missing: {event.missing}" if event.missing else "signed by enough release keys"
        self._line("threshold", f"{event.threshold}: {missing}", style="bold yellow" if event.missing else "bold green")

    @show.register
    def _(self, event: e.FileListed) -> None:
        here = f"  here {event.own or 'absent'}" if event.compared and event.own != event.sha256 else ""
        self._line("file", f"{event.sha256 or 'not in the release':<64}  {event.name}{here}")

    @show.register
    def _(self, event: e.FilesVerified) -> None:
        self._line("leads to", f"{event.mr_enclave}, as the release states for the {event.role}", style="green")
        self._line("", f"{event.files} files, environment {event.environment}")
        if event.differing is not None:
            self._line("differ", f"{event.differing} of them from this checkout", style="bold")
        if event.own_environment not in {None, event.environment}:
            words = f"the environment, too: interpreter and packages here are {event.own_environment}"
            self._line("differs", words, style="bold")

    @show.register
    def _(self, event: e.Pinned) -> None:
        self._line("release", f"{event.release_name}  {event.release}")
        for key in event.release_keys:
            self._line("signed by", key)
        for root in event.roots:
            self._line("root", root)
        self._line("broker", f"{event.broker}  key {event.broker_key}")
        counters = [f"TPM {one.endorsement_key}, counter {one.index:#x}" for one in event.tpm_counters]
        named = [*event.witnesses, *counters]
        self._line("witnesses", f"{event.witness_quorum} of {len(named)}: {', '.join(named)}")
        self.console.print(trust_words(event.trust_level))
        self._line("pinned" if event.stored else "would pin", event.fingerprint, style="bold")

    @show.register
    def _(self, event: e.CounterReady) -> None:
        counter = event.counter
        self._line("counter" if event.made else "is there", f"{counter.index:#x}, at {counter.value}")
        self._line("TPM", f"endorsement key {counter.endorsement_key}", style="bold")
        self._line("settings", f'"tpm_counters": [{counter.encode().decode()}]')
        self.console.print(event.endorsement_key.rstrip())

    @show.register
    def _(self, event: e.Sealed) -> None:
        self._line("sealed", f"{event.chunks} chunks, {event.ciphertext_bytes:,} bytes, root {event.root}")
        self._line("", f"in {event.directory}; the key stays in the identity directory")

    @show.register
    def _(self, event: e.UploadAdvanced) -> None:
        self._advance("upload", event.leaves, event.of, f"{event.bytes_sent:,} bytes, {event.resumed} were there")

    @show.register
    def _(self, event: e.DatasetRegistered) -> None:
        self._line("data set", f"{event.dataset_id}  policy {event.policy[:16]}...")

    @show.register
    def _(self, event: e.BundleRegistered) -> None:
        size = f"state class {event.state_class:,}"
        self._line("bundle", f"{event.bundle_id}  root {event.root}  {size}  sandbox {event.sandbox}")

    @show.register
    def _(self, event: e.VersionListed) -> None:
        day = datetime.fromtimestamp(event.published, UTC).date()
        called = "(published elsewhere)" if event.name is None else f"{event.name} {event.bundle_version}"
        jobs = f"{event.jobs} jobs, {event.finished} of them over"
        style = "" if event.state == "in force" else "yellow"
        self._line(event.state, f"{event.bundle_id}  {called}  published {day}  {jobs}", style=style)

    @show.register
    def _(self, event: e.ProviderReportRead) -> None:
        day = datetime.fromtimestamp(event.ordered, UTC).date()
        self._line(event.outcome or "no report", f"{event.job_id}  ordered {day}")
        if event.told is not None:
            self._line("", _told_words(event.told))
        elif event.outcome is not None:
            self._line("", "the owners' policies do not let a provider know more", style="dim")

    @show.register
    def _(self, event: e.PolicySigned) -> None:
        self._line("policy", f"version {event.policy_version} of {event.dataset_id}: {event.digest}")

    @show.register
    def _(self, event: PolicyTold) -> None:
        for mark, text, style in policy_lines(event):
            self._line(mark, text, style=style)

    @show.register
    def _(self, event: CheckTold) -> None:
        for mark, text, style in check_lines(event):
            self._line(mark, text, style=style)

    @show.register
    def _(self, event: JointTold) -> None:
        for mark, text, style in joint_lines(event):
            self._line(mark, text, style=style)

    @show.register
    def _(self, event: RecoveryTold) -> None:
        for mark, text, style in recovery_lines(event):
            self._line(mark, text, style=style)

    @show.register
    def _(self, event: e.OrderPreview) -> None:
        self._line(
            "order",
            f"the host will see: {event.total_ticks} ticks in {event.seconds:.0f} s, {event.frames:,} frames "
            f"of {event.frame_bytes:,} bytes ({event.traffic_bytes:,} bytes), whatever happens in the job",
        )
        self._line(
            "",
            f"a trainer's launch can tell {event.schedule_bits} bits by its end, and is charged {event.attempt_bits}; "
            f"not bounded: {', '.join(event.open_channels)}",
        )
        if event.report_bits:
            self._line("", f"the provider can be told {event.report_bits} bits at the job's end, by your policy")

    @show.register
    def _(self, event: e.OrderAccepted) -> None:
        self._line("order", f"{event.job_id}, {event.trainers} trainers")

    @show.register
    def _(self, event: e.JobSeen) -> None:
        extra = "".join(
            f"  {name} {value}" for name, value in (("code", event.code), ("model", event.model_id)) if value
        )
        self._line("job", f"{event.job_id}  {event.state}  {event.trainers} trainers{extra}")
        if event.mend is not None:
            self._line("", event.mend)

    @show.register
    def _(self, event: e.ReportOpened) -> None:
        report = event.report
        loss = "-" if report.loss is None else f"{report.loss:.4f}"
        words = (
            f"round {report.round}, loss {loss}, {report.members_live} members, "
            f"{report.real_frames} real and {report.dummy_frames} dummy frames, "
            f"{report.toolchain or 'no toolchain yet'}"
        )
        if report.outcome is None and self.console.is_terminal:
            self._advance("ticks", report.tick, report.total_ticks, words)
            return
        codes = "".join(f", {code}" for code in report.codes)
        self._line("tick", f"{report.tick} of {report.total_ticks}: {words}{codes}")
        if report.told_provider is not None:
            self._line("", f"the provider is told: {_told_words(report.told_provider)}")

    @show.register
    def _(self, event: e.ModelSealed) -> None:
        self.close()
        told = "" if event.outcome is None else f"  {event.outcome} after {event.rounds_done} rounds"
        self._line("model", event.model_id + told)
        self._line("manifest", event.manifest)
        self._stamp(event.trust_level)

    @show.register
    def _(self, event: e.GrantSigned) -> None:
        self._line("grant", f"{event.grant_id}: {event.user[:16]}... may ask {event.model_id} {event.answers} times")
        self._line("", f"in {event.path}; hand it to that user")

    @show.register
    def _(self, event: e.Answered) -> None:
        self._line("answers", f"{event.rows} rows in {event.queries} sealed queries, {event.answers_left} answers left")
        by_graph = event.answered_by == "graph"
        self._line("by", "trusted code, as the model's graph" if by_graph else "the provider's code, confined")
        more = " ..." if event.rows > LABELS_SHOWN else ""
        self._line("labels", " ".join(map(str, event.labels[:LABELS_SHOWN])) + more)
        self._stamp(event.trust_level)
        if not event.witnessed:
            self._line(
                "warning", "no witness: budgets and revocations hold only until the broker restarts", style="red"
            )

    @show.register
    def _(self, event: e.Verified) -> None:
        for check in event.checks:
            self._line("ok", check, style="green")
        self._line("verified", event.subject, style="bold green")

    @show.register
    def _(self, event: e.LogVerified) -> None:
        self._line(
            "ok", f"{event.head.size} leaves under the root that broker {event.broker[:16]}... signed", style="green"
        )
        for size in event.held_against:
            self._line("ok", f"extends the head of size {size} that was seen before", style="green")
        counted = f"; {event.refusals_counted} refusals were only counted" if event.refusals_counted else ""
        self._line(
            "log", f"epoch {event.head.epoch}: {event.told} entries are told, {event.untold} are others'{counted}"
        )

    @show.register
    def _(self, event: e.LogSaved) -> None:
        self._line("saved", f"{event.path}  {event.bytes:,} bytes; verify it with `cloister audit verify`")

    @show.register
    def _(self, event: e.LogEntryTold) -> None:
        entry = event.entry
        style = {"refused": "red", "revoked": "yellow"}.get(entry.outcome, "")
        self._line(f"#{entry.number}", entry_summary(entry), style=style)
        for line in entry_details(entry):
            self._line("", line)

    @show.register
    def _(self, event: e.PlainTwinTrained) -> None:
        self._line("plain", f"the same code in plain torch: accuracy {event.accuracy:.4f} in {event.seconds:.1f} s")

    @show.register
    def _(self, event: e.CollateralSeen) -> None:
        day = datetime.fromtimestamp(event.issued, UTC).date()
        until = datetime.fromtimestamp(event.next_update, UTC).date()
        numbers = f"TCB evaluation {event.tcb_evaluation}, of the QE {event.qe_evaluation}"
        self._line("collateral", f"{event.name}  FMSPC {event.fmspc}  {numbers}")
        style = "" if event.current else "bold red"
        words = "" if event.current else "  OVERDUE: quotes that need it are refused"
        self._line("", f"issued {day}, next update {until}{words}", style=style)
        self._line("", f"{event.age_seconds / 86_400:.1f} days old, from {event.source}")

    @show.register
    def _(self, event: e.StackSeen) -> None:
        if event.state == "starting" and self._ready is not None:
            for name in sorted(set(event.ready) - self._ready):
                self._line("ready", name)
            self._ready = set(event.ready)
            return
        waiting = "".join(f"; {name} waits for {', '.join(what)}" for name, what in event.waiting.items() if what)
        self._line(event.state, f"{event.directory}: {len(event.ready)} services ready{waiting}")
        self._ready = set(event.ready)

    @show.register
    def _(self, event: e.StageBegan) -> None:
        self.close()
        self.console.rule(f"[bold]{event.title}", align="left")

    @show.register
    def _(self, event: e.DemoFinished) -> None:
        self.close()
        self.console.print(figures_table(event))
        self.console.print(trust_words(event.trust_level))

    @show.register
    def _(self, event: e.Explained) -> None:
        self._line("code", f"{event.code}: {event.mender} can mend it: {event.mend}")

    @show.register
    def _(self, event: e.Ended) -> None:
        self._line(event.state, event.identifier)
        if event.leases_end is not None:
            until = datetime.fromtimestamp(event.leases_end, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            self._line("leases", f"no enclave holds it after {until}, whatever its host keeps from it")
        if event.log_entry is not None:
            self._line("log", f"entry {event.log_entry} of the broker's log says so: its inclusion is verified")
