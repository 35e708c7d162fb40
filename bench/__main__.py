"""`python -m bench` (side: owner)."""

from bench.cli import main

main(prog_name="cloister bench")
