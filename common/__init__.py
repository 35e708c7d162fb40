"""What every side of Cloister shares: formats, keys, attestation, confinement (side: library)."""
