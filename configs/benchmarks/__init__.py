"""Benchmarks that ship with twinloop."""
