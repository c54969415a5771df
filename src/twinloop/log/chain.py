"""The hash chain: each event's hash covers the event and the hash before it."""

import hashlib
import re
from typing import Any

from twinloop.errors import ArgumentError
from twinloop.ids import canonical_json
from twinloop.log.interface import Entry

__all__ = ["body_bytes", "first_hash", "link"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


def first_hash(log_id: str) -> bytes:
    """Return what stands before event 1: it binds the chain to the identity of the log."""
    return hashlib.blake2b(log_id.encode(), digest_size=32).digest()


def body_bytes(entry: Entry) -> bytes:
    """Return the canonical bytes of the body.

    Raises:
        ArgumentError: something in it is not JSON, a ref is no digest, or the entry names no kind
            or version.
    """
    if not entry.kind or entry.v < 1 or not isinstance(entry.body, dict):
        raise ArgumentError("entry", entry, "a kind, a version >= 1 and a JSON object as body")
    for ref in entry.refs:
        if not _DIGEST.fullmatch(ref):
            raise ArgumentError(f"refs of {entry.kind}", ref, "BLAKE2b-256 digests, 64 hex digits")
    try:
        return canonical_json(entry.body)
    except (TypeError, ValueError, RecursionError) as err:
        raise ArgumentError(f"body of {entry.kind}", str(err), "finite JSON values only") from err


def link(
    before: bytes, seq: int, at: str, kind: str, v: int, key: str | None, refs: str, body: bytes
) -> bytes:
    """Return the hash of an event, 32 bytes.

    The head is JSON on one line, so that no value can pass for a boundary.
    """
    head: list[Any] = [seq, at, kind, v, key, refs]
    digest = hashlib.blake2b(before, digest_size=32)
    digest.update(canonical_json(head))
    digest.update(b"\n")
    digest.update(body)
    return digest.digest()
