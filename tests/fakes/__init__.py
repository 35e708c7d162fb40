"""Doubles that are real: on test roots, with chosen defects (side: library)."""
