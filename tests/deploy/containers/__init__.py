"""What needs a Docker engine and our images: enclaves in containers, the stack itself, kills, attacks."""
