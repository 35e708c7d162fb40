"""`cloister provider pin|init|check|pack|publish|terms|versions|report|retire` (side: owner: provider's machine)."""

from pathlib import Path
from typing import Any

import click

from client import policy_changes, provider_reports, publications
from client import provider as operations
from client.checking.checks import check as check_bundle
from client.checking.runs import CheckWishes
from client.checking.synthetic import MOST_ROWS
from client.commands.options import Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.policy import terms_of
from client.commands.terms_options import terms_options
from client.commands.types import BUNDLE, BUNDLE_NAME, DIRECTORY, FILE
from client.policy_terms import ProviderTerms
from client.provider_template import Kind, write_template
from common.identifiers import BundleId


@click.group()
def provider() -> None:
    """Model makers: pack, seal and publish code that nobody else reads."""


provider.add_command(pin_command("provider"))


@provider.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", "bundle_name", type=BUNDLE_NAME, help="Name in provider.toml (default: the directory's).")
@click.option(
    "--kind", type=click.Choice(["native", "wasm"]), default="native", show_default=True, help="How it is confined."
)
@party_command("provider")
def init(here: Surroundings, directory: Path, bundle_name: str | None, kind: Kind) -> None:
    """Write a small provider that packs and trains as it is, with comments on the contract."""
    here.run(write_template(directory, bundle_name, kind))


@provider.command()
@click.argument("source", metavar="DIRECTORY", type=DIRECTORY)
@click.option("--schema", type=FILE, help="Columns of a data set in TOML (default: what provider.toml declares).")
@click.option("--rows", type=click.IntRange(1, MOST_ROWS), help="Synthetic rows (default: the schema's, or 256).")
@click.option("--rounds", type=click.IntRange(1, 1000), default=CheckWishes.rounds, show_default=True)
@click.option(
    "--steps", type=click.IntRange(1, 10_000), default=CheckWishes.steps, show_default=True, help="Steps in a round."
)
@click.option(
    "--batch", type=click.IntRange(1, 1 << 16), default=CheckWishes.batch, show_default=True, help="Rows in a step."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=CheckWishes.seconds,
    show_default=True,
    help="What the first state, or a round, may take.",
)
@party_command("provider")
def check(here: Surroundings, source: Path, **wishes: Any) -> None:
    """Run a directory in the sandbox of a job, on synthetic rows, and say what is wrong with it. Nothing is sent."""
    here.run(check_bundle(source, CheckWishes(**wishes)))


@provider.command()
@click.argument("source", metavar="DIRECTORY", type=DIRECTORY)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New directory for the ciphertext.")
@party_command("provider")
def pack(here: Surroundings, source: Path, output: Path | None) -> None:
    """Check a directory with provider.toml and code, and seal it."""
    here.run(operations.pack(here.party, source, output or Path(f"{source.name}.sealed")))


@provider.command()
@click.argument("packed", metavar="SEALED", type=DIRECTORY)
@terms_options
@click.option("--measure", is_flag=True, help="Also publish what a training step costs, measured here, in 11 bits.")
@party_command("provider")
def publish(here: Surroundings, packed: Path, source: Path | None, *, measure: bool, **options: Any) -> None:
    """Upload a packed bundle and register it with the key broker."""
    here.run(operations.publish(here.party, packed, terms_of(source, options, ProviderTerms), measure=measure))


@provider.command()
@click.argument("bundle_id", metavar="BUNDLE", type=BUNDLE)
@terms_options
@click.option("--propose", type=click.Path(path_type=Path), help="Only write it, for its approvers to sign.")
@click.option("--approved", multiple=True, type=FILE, help="A proposal with approvals, to be put in force as it is.")
@party_command("provider")
def terms(
    here: Surroundings,
    bundle_id: BundleId,
    source: Path | None,
    propose: Path | None,
    approved: tuple[Path, ...],
    **options: Any,
) -> None:
    """Sign the next version of a bundle's terms: they replace the ones before as a whole. Running jobs gain nothing."""
    if approved:
        here.run(policy_changes.submit_approved(here.party, bundle_id, approved))
        return
    chosen = terms_of(source, options, ProviderTerms)
    if propose is not None:
        here.run(policy_changes.propose(here.party, bundle_id, chosen, propose))
    else:
        here.run(operations.set_terms(here.party, bundle_id, chosen))


@provider.command()
@click.option("--log", "source", type=FILE, help="A log that was fetched (default: fetch it now).")
@party_command("provider")
def versions(here: Surroundings, source: Path | None) -> None:
    """List this provider's published bundles, as the key broker's log tells of them."""
    here.run(publications.versions(here.party, source))


@provider.command()
@click.argument("bundle_id", metavar="BUNDLE", type=BUNDLE)
@click.option("--log", "source", type=FILE, help="A log that was fetched (default: fetch it now).")
@party_command("provider")
def report(here: Surroundings, bundle_id: BundleId, source: Path | None) -> None:
    """Say of each job of a bundle how it ended, and what else its owners let be known."""
    here.run(provider_reports.reports(here.party, bundle_id, source))


@provider.command()
@click.argument("bundle_id", metavar="BUNDLE", type=BUNDLE)
@party_command("provider")
def retire(here: Surroundings, bundle_id: BundleId) -> None:
    """Let no new order name a bundle. Running jobs go on, and models are asked as before."""
    here.run(publications.retire(here.party, bundle_id))
