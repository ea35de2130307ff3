"""Deck A's methods on one outer fold: detection network, localised classifier, its two rivals."""

from cspine_lib.fold_dlc.detection import ConfidentSlices, iterate_detection, read_reports
from cspine_lib.fold_dlc.folds import dlc_fold

__all__ = ["ConfidentSlices", "dlc_fold", "iterate_detection", "read_reports"]
