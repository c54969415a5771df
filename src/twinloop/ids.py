"""Names, incarnations, keys and digests."""

import hashlib
import json
import re
import secrets
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator

from twinloop.errors import ArgumentError

__all__ = [
    "CommandKey",
    "Name",
    "canonical_json",
    "check_name",
    "digest_of",
    "new_incarnation",
    "seed_of",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# made once: json.dumps builds an encoder a call for any but its defaults
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
)
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{p}{i}" for p in ("COM", "LPT") for i in range(1, 10))}


def check_name(text: str) -> str:
    """Return `text` when it may name an agent, a campaign, a sample or a folder.

    Raises:
        ArgumentError: characters outside [A-Za-z0-9._-], an empty or long name, or a name that
            Windows keeps for a device.

    Example:
        >>> check_name("mbe-2")
        'mbe-2'
    """
    if (
        not _NAME.fullmatch(text)
        or text.partition(".")[0].upper() in _RESERVED
        or text.endswith(".")
    ):
        raise ArgumentError(
            "name",
            text,
            "1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter or digit, "
            "and no device name of Windows",
        )
    return text


def _valid_name(text: str) -> str:
    try:
        return check_name(text)
    except ArgumentError as err:
        # pydantic turns only a ValueError into its own located error
        raise ValueError(str(err)) from err


Name = Annotated[str, AfterValidator(_valid_name)]


class CommandKey(NamedTuple):
    """What identifies one attempt at one physical step, for ever.

    `attempt` grows only by a journalled decision after a definite FAILED or NOT_DONE.
    """

    campaign: str
    trial: str
    step: str
    attempt: int

    def __str__(self) -> str:
        """Return the key as one path-like word."""
        return f"{self.campaign}/{self.trial}/{self.step}/{self.attempt}"


def new_incarnation() -> str:
    """Return a fresh random identity for one life of an agent."""
    return secrets.token_hex(8)


def canonical_json(value: Any) -> bytes:
    """Return the one byte string that stands for a JSON value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: a NaN or infinity.
    """
    return _CANONICAL.encode(value).encode()


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """Return the BLAKE2b-256 digest of bytes as hexadecimal text."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def seed_of(*parts: object) -> int:
    """Return a 63-bit seed that depends on each part and on their order.

    Example:
        >>> seed_of(7, "proposal", 3) == seed_of(7, "proposal", 3)
        True
    """
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
