"""`./cloister bench hosts`: what a verifier's part of judging a measured host costs (side: verifier).

Keys of the JSON file: `tpm_attest_ms` (evidence of a list of `entries` files, from encoded to accepted: parsed,
verified, held against a profile; the TPM's own time and the way are apart), `tpm_parse_ms`, `tpm_verify_ms`,
`tpm_appraise_ms` (its parts), `tpm_attest_mutated` and `tpm_attest_accepted` (evidence with one bit changed, and how
much of that passed). Times are medians of CPU time on one thread.
"""

import contextlib
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from common.errors import Refusal
from common.messages.host_evidence import HostEvidence
from common.tpm_ima.appraisal import appraise_host
from common.tpm_ima.claims import HostClaims
from common.tpm_ima.verification import host_binding, require_host_binding, verify_host

_FIELDS: Final = ("endorsement_key", "attestation_key", "activation", "attested", "signature", "measurement_list")
_ENTRIES_CHANGED: Final = 20


@dataclass(frozen=True)
class HostFigures:
    """What came of it. Times in milliseconds."""

    entries: int
    tpm_attest_ms: float
    tpm_parse_ms: float
    tpm_verify_ms: float
    tpm_appraise_ms: float
    tpm_attest_mutated: int
    tpm_attest_accepted: int


class _Scene:
    """A host with a list of so many files, and the profile that allows them."""

    def __init__(self, entries: int) -> None:
        from tests.fakes.ek_authority import AT
        from tests.fakes.forged_host import ForgedHost, claims_of, files, lines_of, profile_for

        self._host, self._at, self._report_data = ForgedHost(), AT, bytes(64)
        self._profile, self._allowed = profile_for(claims_of(files(entries)))
        self.evidence = self._host.evidence(lines_of(entries), binding=host_binding(self._report_data))

    def verified(self, evidence: HostEvidence) -> HostClaims:
        return verify_host(evidence, [self._host.authority.pinned], self._host.activations, self._at)

    def times(self, raw: bytes) -> tuple[float, float, float]:
        """Milliseconds of CPU time to parse, to verify, to hold against the profile."""
        marks = [time.process_time()]
        evidence = HostEvidence.decode(raw)
        marks.append(time.process_time())
        claims = self.verified(evidence)
        marks.append(time.process_time())
        require_host_binding(claims, self._report_data)
        appraise_host(claims, self._profile, self._allowed)
        marks.append(time.process_time())
        parse, verify, appraise = (1000 * (later - before) for before, later in itertools.pairwise(marks))
        return parse, verify, appraise


def measure_hosts(entries: int, rounds: int, mutations: int, seed: int) -> HostFigures:
    """Judge one host `rounds` times; then evidence of a short list with `mutations` changes."""
    scene = _Scene(entries)
    raw = scene.evidence.encode()
    times = [scene.times(raw) for _ in range(rounds)]
    short, accepted = _Scene(_ENTRIES_CHANGED), 0
    for changed in changes(short.evidence, mutations, seed):
        with contextlib.suppress(Refusal):
            short.verified(changed)
            accepted += 1
    parse, verify, appraise = (round(statistics.median(some), 1) for some in zip(*times, strict=True))
    return HostFigures(
        entries=entries,
        tpm_attest_ms=round(statistics.median(map(sum, times)), 1),
        tpm_parse_ms=parse,
        tpm_verify_ms=verify,
        tpm_appraise_ms=appraise,
        tpm_attest_mutated=mutations,
        tpm_attest_accepted=accepted,
    )


def changes(good: HostEvidence, count: int, seed: int) -> Iterator[HostEvidence]:
    """Evidence with one bit flipped, in a field or certificate that the seed draws."""
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice((*_FIELDS, "endorsement_certificates"))
        if name in _FIELDS:
            yield good.model_copy(update={name: _flipped(getattr(good, name), chance)})
            continue
        certificates = list(good.endorsement_certificates)
        number = chance.randrange(len(certificates))
        certificates[number] = _flipped(certificates[number], chance)
        yield good.model_copy(update={name: tuple(certificates)})


def _flipped(raw: bytes, chance: random.Random) -> bytes:
    at, bit = chance.randrange(len(raw)), 1 << chance.randrange(8)
    return raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]


@click.command()
@click.option("--entries", type=click.IntRange(min=1, max=1 << 20), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=21, show_default=True)
@click.option("--mutations", type=click.IntRange(min=0), default=2000, show_default=True)
@click.option("--seed", type=int, default=8, show_default=True)
@click.option("--json", "destination", type=click.Path(path_type=Path), help="Write the figures there.")
def hosts(entries: int, rounds: int, mutations: int, seed: int, destination: Path | None) -> None:
    """How long does it take to judge a measured host, and does changed evidence pass?"""
    figures = asdict(measure_hosts(entries, rounds, mutations, seed))
    if destination is not None:
        destination.write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        click.echo(f"{name:<22} {value}")
