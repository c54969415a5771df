"""Theory in the loop: emulator, calibration, discrepancy, and what they make of the next choice."""
