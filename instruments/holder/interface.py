"""The contract of instruments that hold one sample: take it from a transfer vessel, give it back.

A sample has one identity and is at one place: in an instrument, or in a transfer vessel between two.
It moves in two steps, each of them one action beside an instrument:

    await mbe.give()                # now it is in the vessel
    await stm.take()                # now it is in the microscope

so that a crash between them, or in the middle of one, leaves a sample that is somewhere. Both are
reconciled by command key: an instrument that gave is asked whether it still has the sample, and its
answer agrees with the vessel and with whoever took it since. In a protocol the two lines are
`twinloop.protocols.transfer.move`.

An implementation subclasses the contract of its kind (`STM`), which derives from `SampleHolder`.
"""

from abc import abstractmethod

from twinloop.instruments.interface import Instrument, OnSilence, Recovery, action

__all__ = ["SampleHolder"]


class SampleHolder(Instrument):
    """Holds one sample at a time."""

    @action(
        recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH, silence_s=30, loads_sample=True
    )
    @abstractmethod
    async def take(self) -> None:
        """Take the named sample out of the transfer vessel, onto the stage.

        What a trial that failed has left on the stage goes into the vessel first.

        Raises:
            NotTouched: the vessel does not hold it.
        """

    @action(
        recovery=Recovery.RECONCILABLE,
        on_silence=OnSilence.FINISH,
        silence_s=30,
        unloads_sample=True,
    )
    @abstractmethod
    async def give(self) -> None:
        """Put the sample on the stage into the transfer vessel.

        Raises:
            NotTouched: it is not on the stage, or the vessel is full.
        """
