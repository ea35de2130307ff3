"""The deck's future work as variants of the first place's method: one thing changed in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cspine_lib.config import DEFAULT_SEED, Profile
from cspine_lib.errors import CspineError
from cspine_lib.recipes import Recipe, get_recipe

REFERENCE = "first_place"
EPOCHS = 4
"""Of a variant, unless its profile has fewer."""


@dataclass(frozen=True)
class Variant:
    """The reference with one thing changed; the reference itself changes nothing.

    Args:
        question: what it is asked about; rows of one question stand together.
        change: fields of the recipe's ``VertebraRecipe``.
        backbone: another encoder; it runs only with ImageNet weights.
        seed: of all that comes after the U-Net.
    """

    name: str
    question: str
    says: str
    change: Mapping[str, Any] = field(default_factory=dict)
    backbone: str = ""
    seed: int = DEFAULT_SEED

    @property
    def recipe(self) -> Recipe:
        """A method of its own name, which is not in the table of methods."""
        whole = get_recipe(REFERENCE)
        assert whole.vertebra is not None
        if self.name == REFERENCE:
            return whole
        part = replace(whole.vertebra, **self.change)
        return replace(whole, name=f"{REFERENCE}-{self.name}", title=self.says, vertebra=part)

    def profile(self, profile: Profile) -> Profile:
        """Its profile: a smoke run's few images grow and shrink as the recipe's do."""
        whole = get_recipe(REFERENCE).vertebra
        assert whole is not None
        few = profile.vertebra_frames
        if few and "frames" in self.change:
            few = max(1, round(few * self.change["frames"] / whole.frames))
        backbone = self.backbone or profile.backbone
        return replace(profile, backbone=backbone, vertebra_frames=few)


VARIANTS = (
    Variant(REFERENCE, "reference", "first place: 15 images of 5 slices and outline, BiLSTM"),
    Variant("seed", "luck", "the same with another seed", seed=DEFAULT_SEED + 1),
    Variant("transformer", "sequence", "Transformer layers, no LSTM", {"recurrent": "transformer"}),
    Variant("gru", "sequence", "GRU, no LSTM", {"recurrent": "gru"}),
    Variant("no_recurrent", "sequence", "no net over the sequence", {"recurrent": "none"}),
    Variant("study", "sequence", "all seven levels in one sequence", {"scope": "study"}),
    Variant("pixels_more", "pixels", "1.4 times the pixels a side", {"crop_scale": 1.4}),
    Variant("pixels_fewer", "pixels", "0.8 times the pixels a side", {"crop_scale": 0.8}),
    Variant("frames_24", "frames", "24 images a level", {"frames": 24}),
    Variant("frames_8", "frames", "8 images a level", {"frames": 8}),
    Variant("sagittal", "plane", "from the side", {"plane": "sagittal"}),
    Variant("both", "plane", "from above and from the side", {"plane": "both"}),
    Variant("no_outline", "channels", "without the outline", {"outline": False}),
    Variant("resnet18d", "backbone", "ResNet-18-D", backbone="resnet18d"),
    Variant("convnext_atto", "backbone", "ConvNeXt atto", backbone="convnext_atto"),
)


def chosen_variants(names: str) -> list[Variant]:
    """``all``, or names with commas between; the reference is always among them, and first.

    Raises:
        CspineError: an unknown name.
    """
    known = {v.name: v for v in VARIANTS}
    wanted = list(known) if names.strip() == "all" else [n.strip() for n in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise CspineError(f"unknown variant {unknown[0]!r}; known variants: {', '.join(known)}")
    return [v for v in VARIANTS if v.name in {REFERENCE, *wanted}]


def quick_profile(profile: Profile, epochs: int | None = None) -> Profile:
    """Few epochs.  A network that reads whole studies has half as many, of all their levels:
    about as many steps as one that reads levels, which leaves most of the unbroken ones out."""
    n = epochs or min(EPOCHS, profile.classifier_epochs)
    return replace(profile, classifier_epochs=n, study_epochs=max(1, n // 2))
