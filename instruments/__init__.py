"""Instruments: the adapter contract, the adapter server, the twins."""
