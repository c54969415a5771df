"""Protocols: what one trial does."""
