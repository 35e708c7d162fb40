"""The host's plumbing: queues, stores, boards, relays. It sees ciphertext and public values (side: host)."""
