"""Analysts: raw measurement to quantities with uncertainty."""
