"""Seeded, paired studies of planners on simulated experiments: `twinloop bench`."""
