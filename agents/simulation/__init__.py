"""Deterministic fault simulation: several agents in one process, on a seeded network and clock."""
