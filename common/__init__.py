"""What every side of Cloister shares: formats, keys, attestation, confinement (side: library)."""

__version__ = "0.1.0"
