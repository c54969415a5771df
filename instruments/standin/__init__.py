"""The stand-in laboratory: a growth chamber with a hidden truth, in a process of its own."""
