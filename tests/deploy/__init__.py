"""docker-compose.yml: what stands in it, and what its brokers let through."""
