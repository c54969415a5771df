"""Planners: where to experiment next."""
