"""Bridges outward: a served instrument behind the interfaces that other programs speak."""
