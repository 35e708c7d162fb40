"""`cloister user pin|query` (side: owner: the user's machine)."""

from pathlib import Path

import click

from client import user as operations
from client.commands.options import PATH, Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.types import FILE_OR_DIRECTORY, GRANT_FILE, MODEL_OR_NAME
from client.query_rows import read_rows
from common.identifiers import ModelId
from common.messages.signed import Signed


@click.group()
def user() -> None:
    """Users: ask a model without showing anybody the question."""


user.add_command(pin_command("user"))


@user.command()
@click.argument("source", metavar="FILE|FOLDER", type=FILE_OR_DIRECTORY)
@click.option("--grant", "grant_file", required=True, type=GRANT_FILE, help="The owner's grant.")
@click.option("--column", help="Column of an NPZ file with several.")
@click.option("--model", "asked", type=MODEL_OR_NAME, help="Name or model (default: what the grant is for).")
@click.option("--receipt", type=PATH, help="New file for receipts of the answers; beside it FILE.query, FILE.answer.")
@party_command("user")
def query(
    here: Surroundings,
    source: Path,
    grant_file: Path,
    column: str | None,
    asked: ModelId | str | None,
    receipt: Path | None,
) -> None:
    """Verify the query enclave, seal rows to it, open its answers.

    Rows are those of an NPY, NPZ, CSV or PNG file, or of all files of a folder.
    """
    rows = read_rows(source, column)
    here.run(operations.query(here.party, Signed.decode(grant_file.read_bytes()), rows, receipt, asked))
