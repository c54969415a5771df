"""Processes: supervisor, placement on Ray, compute agents."""
