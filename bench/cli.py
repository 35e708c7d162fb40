"""The command `./cloister bench` (side: owner). The installed `cloister` does not carry it."""

import click

from bench.attest import attest
from bench.attest_kill import attest_kill
from bench.engines import engines
from bench.fuzz import fuzz
from bench.gpu import gpu
from bench.hosts import hosts
from bench.kill import kill
from bench.leak_meter import leak_meter
from bench.read_window import reads
from bench.sandbox import sandbox
from bench.serve import serve
from bench.train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """Measure the product, and hurt it, on this machine."""


main.add_command(attest)
main.add_command(attest_kill)
main.add_command(engines)
main.add_command(fuzz)
main.add_command(gpu)
main.add_command(hosts)
main.add_command(kill)
main.add_command(leak_meter)
main.add_command(reads)
main.add_command(sandbox)
main.add_command(serve)
main.add_command(train)
