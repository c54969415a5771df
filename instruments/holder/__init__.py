"""Instruments that hold one sample and pass it on: the contract they share."""

from twinloop.instruments.holder.interface import SampleHolder

__all__ = ["SampleHolder"]
