"""Signatures as they stand in the source: ``npt.ArrayLike``, not the union behind the name."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any


def from_source(source: str) -> tuple[str, str] | None:
    """Parameters and returned type of the function that a piece of source begins with.

    ``self`` and ``cls`` are left out; None where it begins with no function.
    """
    try:
        node = ast.parse(textwrap.dedent(source)).body[0]
    except (SyntaxError, IndexError):
        return None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    arguments = node.args
    for group in (arguments.posonlyargs, arguments.args):
        if group and group[0].arg in ("self", "cls"):
            del group[0]
    return f"({ast.unparse(arguments)})", ast.unparse(node.returns) if node.returns else ""


def _signature(app: Any, what: str, name: str, thing: Any, *_: Any) -> tuple[str, str] | None:
    if what not in ("function", "method"):
        return None
    try:
        return from_source(inspect.getsource(thing))
    except (OSError, TypeError):
        return None


def _skip(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a NamedTuple have a docstring that says nothing."""
    return True if str(thing.__doc__).startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
    """Hooks into autodoc."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
