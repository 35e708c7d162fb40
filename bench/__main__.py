"""`python -m bench` (side: library)."""

from bench.cli import main

main(prog_name="cloister bench")
