"""Molecular beam epitaxy: the contract of the kind and its twin."""
