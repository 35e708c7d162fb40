"""`cloister attestation collateral import|export|show` (side: host: the operator of the attestation service)."""

import time
from pathlib import Path

import click

from client.collateral import export_collateral, import_collateral, show_collateral
from client.commands.options import PATH, CommandT, Surroundings, party_command, with_options
from client.commands.types import FILE
from common.untrusted.collateral_cache import COLLATERAL_FOLDER, CollateralCache


@click.group()
def attestation() -> None:
    """Run the attestation service."""


@attestation.group()
def collateral() -> None:
    """Intel's collateral, with which quotes are verified that carry none."""


def _cache_options(command: CommandT) -> CommandT:
    """Where the cache is, and whom to believe about what enters it."""
    options = (
        click.option("--cache", type=PATH, help="Directory of the cache; by default that of the stack in the state."),
        click.option("--trust-settings", type=FILE, help="Roots to believe; by default the stack's."),
    )
    return with_options(command, options)


def _cache(here: Surroundings, cache: Path | None, trust_settings: Path | None) -> CollateralCache:
    directory = cache or here.state / "attestation" / COLLATERAL_FOLDER
    return CollateralCache(directory, here.trust_settings(trust_settings).allowed_roots)


@collateral.command("import")
@click.argument("source", metavar="FILE", type=FILE)
@_cache_options
@party_command("operator")
def import_(here: Surroundings, source: Path, cache: Path | None, trust_settings: Path | None) -> None:
    """Take collateral from a file: a bundle, or the nine pieces as PCS clients store them."""
    here.run(import_collateral(_cache(here, cache, trust_settings), source, int(time.time())))


@collateral.command()
@click.argument("target", metavar="FILE", type=PATH)
@_cache_options
@party_command("operator")
def export(here: Surroundings, target: Path, cache: Path | None, trust_settings: Path | None) -> None:
    """Write all stored collateral to one bundle."""
    here.run(export_collateral(_cache(here, cache, trust_settings), target, int(time.time())))


@collateral.command()
@_cache_options
@party_command("operator")
def show(here: Surroundings, cache: Path | None, trust_settings: Path | None) -> None:
    """Show for which platforms there is collateral, how new it is, and where it came from."""
    here.run(show_collateral(_cache(here, cache, trust_settings), int(time.time())))
