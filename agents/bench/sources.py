"""Which code a planner is: the modules of its own, read from their imports."""

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["own_modules", "source_digest"]

_ROOM = "twinloop.planners"
_CONTRACT = "twinloop.planners.interface"


@cache
def _needed(module: str) -> frozenset[str]:
    """Return a module and all modules of the planners' room that it imports, one way or another."""
    found, left = set[str](), [module]
    while left:
        name = left.pop()
        if name in found:
            continue
        path = _source(name)
        if path is None:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                left += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                left += [alias.name for alias in node.names]
        left = [n for n in left if n == _ROOM or n.startswith(f"{_ROOM}.")]
    return frozenset(found)


def own_modules(module: str) -> tuple[str, ...]:
    """Return the modules of a planner that the contract of all planners does not need.

    Example:
        >>> own_modules("twinloop.planners.plain_bo")
        ('twinloop.planners.plain_bo',)
    """
    return tuple(sorted((_needed(module) - _needed(_CONTRACT)) | {module}))


@cache
def source_digest(module: str) -> str:
    """Return the digest of a planner's own source."""
    digest = hashlib.blake2b(digest_size=8)
    for name in own_modules(module):
        path = _source(name)
        digest.update(path.read_bytes() if path is not None else name.encode())
    return digest.hexdigest()


def _source(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)
