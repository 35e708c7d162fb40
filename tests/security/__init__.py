"""One file per promise of the threat model, each of which tries to break it."""
