"""Stand-in machines: their hidden truth, detector, lattice and pace."""
