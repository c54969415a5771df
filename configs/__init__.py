"""Laboratories, campaigns and benchmarks that ship with the package."""
