"""The formats of an export; on its own, so that the command line names them without loading them."""

from enum import StrEnum

__all__ = ["Format"]


class Format(StrEnum):
    """What to write."""

    NEXUS = "nexus"
    PARQUET = "parquet"
    BLUESKY = "bluesky"
    ALL = "all"
