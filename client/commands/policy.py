"""`cloister policy check|explain|diff|try|approve` (side: owner)."""

from pathlib import Path
from typing import Any, TypeVar

import click

from client import policies, policy_changes, policy_trial
from client.commands.options import Surroundings, party_command
from client.commands.types import BUNDLE, DATASET, FILE
from client.policy_file import read_policy_file
from client.policy_terms import PolicyTerms, ProviderTerms
from client.policy_words import Assumed
from common.errors import FormatError
from common.identifiers import BundleId, DatasetId

TermsT = TypeVar("TermsT", PolicyTerms, ProviderTerms)


def terms_of(source: Path | None, options: dict[str, Any], kind: type[TermsT]) -> TermsT:
    """What a file says, if there is one, and what options say instead of it.

    Raises `PolicyFileError`, or `FormatError` (format.policy) for a file of the other kind.
    """
    terms = kind() if source is None else read_policy_file(source)
    if not isinstance(terms, kind):
        word = "data" if kind is PolicyTerms else "bundle"
        raise FormatError("format.policy", expected=f"`policy: {word}`", seen="a policy of the other kind")
    said = {name: value for name, value in options.items() if value not in {None, ()}}
    if "days" in said:
        said["not_after"] = None
    return kind.model_validate({**terms.model_dump(), **said})


@click.group()
def policy() -> None:
    """Policies before they are signed: a data set's or a bundle's, as a file or as it was signed here."""


@policy.command()
@click.argument("file", type=FILE)
@party_command("owner")
def check(here: Surroundings, file: Path) -> None:
    """Read a policy file, and say of every mistake where it is and what was expected."""
    here.run(policies.check(file))


@policy.command()
@click.argument("source", metavar="FILE|DATASET|BUNDLE")
@click.option("--classes", type=click.IntRange(min=1), help="Values of one answer; bits of answers depend on it.")
@click.option("--ticks", type=click.IntRange(min=1), help="Ticks of a job's schedule; bits of attempts depend on it.")
@party_command("owner")
def explain(here: Surroundings, source: str, classes: int | None, ticks: int | None) -> None:
    """Say in plain English what a policy allows, and how many bits can leave by it."""
    here.run(policies.explain(here.party, source, Assumed(classes, ticks)))


@policy.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@party_command("owner")
def diff(here: Surroundings, old: str, new: str) -> None:
    """Say what becomes possible and what stops when NEW follows OLD; each is a file, a data set or a bundle."""
    here.run(policies.difference(here.party, old, new))


@policy.command("try")
@click.argument("source", metavar="FILE|DATASET|BUNDLE")
@click.option("--against", "log", type=FILE, help="A fetched log (default: the newest, fetched now).")
@click.option("--dataset", type=DATASET, help="The data set, where the log tells of several of yours.")
@click.option("--bundle", type=BUNDLE, help="The bundle, for a provider's terms.")
@party_command("owner")
def try_(here: Surroundings, source: str, log: Path | None, dataset: DatasetId | None, bundle: BundleId | None) -> None:
    """Say which past decisions of the key broker would differ under these terms."""
    if dataset is not None and bundle is not None:
        raise click.UsageError("name one of --dataset and --bundle")
    here.run(policy_trial.try_policy(here.party, source, log, dataset or bundle))


@policy.command()
@click.argument("proposal", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to (default: the same file).")
@party_command("owner")
def approve(here: Surroundings, proposal: Path, output: Path | None) -> None:
    """Say what a proposed policy allows, and sign it as one of its approvers."""
    here.run(policy_changes.approve(here.party, proposal, output or proposal))
