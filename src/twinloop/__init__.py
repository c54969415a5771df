"""twinloop: autonomous experiments for materials science, with theory in the loop."""

__all__ = ["__version__"]

__version__ = "0.1.0"
