"""`cloister owner|provider|user pin` (side: owner)."""

from pathlib import Path
from typing import Any

import click

from client.commands.options import Surroundings, party_command
from client.commands.tcb_options import chosen_tcb, tcb_options
from client.commands.types import DIGEST, FILE, FILE_OF_ROLE
from client.measuring import digest_cache, measure_roles, measured_sigs
from client.pinning import pin
from client.td_values import read_td_value
from common.identifiers import Digest


def pin_command(default_name: str) -> click.Command:
    """The pin command of one group."""

    @click.command("pin")
    @click.option(
        "--expect", type=DIGEST, help="Fingerprint that you got over another channel; nothing else is stored."
    )
    @click.option(
        "--from-checkout",
        is_flag=True,
        help="Measure the enclaves of this checkout (or installation); store only a release that states the same.",
    )
    @click.option(
        "--trust-settings",
        type=FILE,
        help="Release keys and roots to believe; by default those of the stack in the state directory.",
    )
    @click.option(
        "--sig", "sigs", multiple=True, type=FILE_OF_ROLE, help="With --from-checkout: one's own build of SGX enclaves."
    )
    @click.option(
        "--td",
        "tds",
        multiple=True,
        type=FILE_OF_ROLE,
        help="With --from-checkout: one's own trust domains, each a value file or a quote.",
    )
    @tcb_options
    @party_command(default_name)
    def command(
        here: Surroundings,
        expect: Digest | None,
        trust_settings: Path | None,
        sigs: tuple[tuple[str, Path], ...],
        tds: tuple[tuple[str, Path], ...],
        tcb_file: Path | None,
        *,
        from_checkout: bool,
        **tcb: Any,
    ) -> None:
        """Show what would be trusted, and store it if it is what was expected or measured.

        Without --expect and --from-checkout nothing is stored. TCB terms are this identity's own, over the machines of
        brokers and query enclaves beside those of the release; without any, those that it holds stay.
        """
        settings = here.trust_settings(trust_settings)
        own = (*measure_roles(settings, digest_cache()), *measured_sigs(dict(sigs))) if from_checkout else None
        domains = {role: read_td_value(file) for role, file in tds} if from_checkout else {}
        terms = chosen_tcb(tcb_file, tcb)
        here.run(pin(here.party, here.endpoints(), settings, expect=expect, measured=own, domains=domains, tcb=terms))

    return command
