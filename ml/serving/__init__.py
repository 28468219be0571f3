"""Serving: the model repository, promotion and rollback, the embedded Triton, its client, result formats."""
