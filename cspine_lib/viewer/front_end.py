"""Who is looking?  A browser, or only a file that GitHub will show."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Literal, get_args

from cspine_lib.errors import CspineError

Mode = Literal["webgl", "sliders", "still"]
MODES: tuple[Mode, ...] = get_args(Mode)
VARIABLE = "CSPINE_VIEWER"

LIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD", "COLAB_RELEASE_TAG")
"""Set in kernels that a browser or an editor opened: Jupyter's server (a kernel that
nbconvert or nbval starts has none), VS Code, Colab."""


def is_live() -> bool:
    """Whether somebody sits in front of this kernel who can move a slider."""
    if "ipykernel" not in sys.modules:
        return False
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return os.environ["KAGGLE_KERNEL_RUN_TYPE"] == "Interactive"
    return any(os.environ.get(name) for name in LIVE)


def choose(mode: str | None) -> Mode | None:
    """The way of showing that was asked for; None: the best that the browser turns out to do.

    Args:
        mode: one of ``MODES``; None: ``CSPINE_VIEWER``, else by what is there.

    Raises:
        CspineError: no such way.
    """
    asked = mode or os.environ.get(VARIABLE)
    if asked:
        for known in MODES:
            if asked == known:
                return known
        raise CspineError(f"unknown way of viewing {asked!r}; known: {', '.join(MODES)}")
    return None if is_live() else "still"


def allow_custom_widgets() -> None:
    """Colab shows widgets that are not ipywidgets' own only after it was asked to."""
    if "google.colab" in sys.modules:
        import_module("google.colab.output").enable_custom_widget_manager()
