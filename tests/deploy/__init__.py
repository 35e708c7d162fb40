"""docker-compose.yml: what stands in it, what its brokers let through, and the stack itself."""
