"""Patient-overall rules: from seven level probabilities to one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cspine_lib.anatomy import N_LEVELS
from cspine_lib.errors import CspineError

FloatArray = npt.NDArray[np.floating]


def overall_noisy_or(p_levels: npt.ArrayLike, top_n: int = N_LEVELS) -> FloatArray:
    """1 − Π(1 − p) over the ``top_n`` largest of the level probabilities.

    Args:
        p_levels: (…, 7) probabilities.
        top_n: 1 gives the maximum, 7 takes all levels (deck B, "N sweep").

    Returns:
        (…,) probability that any level is broken, were the levels independent.
    """
    if not 1 <= top_n <= N_LEVELS:
        raise CspineError(f"top_n must be 1 … {N_LEVELS}, got {top_n}")
    largest = np.sort(np.asarray(p_levels, dtype=np.float64), axis=-1)[..., -top_n:]
    return 1 - np.prod(1 - largest, axis=-1)


def overall_max(p_levels: npt.ArrayLike) -> FloatArray:
    """Largest level probability, (…, 7) → (…,): right were the levels fully dependent."""
    return np.asarray(p_levels, dtype=np.float64).max(axis=-1)
