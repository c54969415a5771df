"""The conformance suite: does a class keep the contract of an instrument, on the real adapter?"""

from twinloop.instruments.conformance.interface import Rehearsal, check_instrument

__all__ = ["Rehearsal", "check_instrument"]
