"""Bridges: instruments that already live elsewhere, as instruments here; each an optional extra."""
