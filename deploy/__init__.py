"""How Cloister is brought up (side: host)."""
