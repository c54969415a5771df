"""Kills: a real campaign in processes of its own, killed on purpose, and audited afterwards."""
