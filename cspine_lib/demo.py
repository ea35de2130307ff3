"""``make demo``: deck B's two stages on a phantom, from nothing to a competition score.

The same commands as anybody's: phantom, train, predict, score.  Run again it goes
on where it was; finished, it prints the stored figures.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import typer

from cspine_lib.anatomy import LEVELS
from cspine_lib.config import DEFAULT_SEED, Profile
from cspine_lib.errors import CspineError
from cspine_lib.leakage import check_leakage
from cspine_lib.metrics import Interval
from cspine_lib.phantom.tables import TEST_TRUTH_CSV
from cspine_lib.runs import atomic_write_text, read_json
from cspine_lib.scoring import Score, score_submission

METHOD = "crop_bilstm"
PICTURES = 6
"""Held-out studies that get an overview picture."""


def run_demo(profile: Profile, out: Path, *, progress: bool = True) -> dict[str, Any]:
    """Make the phantom, train, predict the held-out studies, score; print as it goes.

    Args:
        profile: its phantom's test studies are the held-out ones.
        out: run folder; gets ``result.json``, ``scored.json`` (the run record with its
            scores) and ``predictions/``.

    Returns:
        What ``result.json`` holds.
    """
    from cspine_lib.methods import train_method
    from cspine_lib.predict import predict_folder
    from cspine_lib.sources import dataset_for

    if profile.phantom is None:
        raise CspineError(f"the demo runs on a phantom; profile {profile.name!r} has none")
    start = time.perf_counter()
    typer.echo(f"profile {profile.name}: simulated scans, not patients; results in {out}")
    dataset = dataset_for(profile, phantom=True, quiet=not progress)
    typer.echo(f"1/3 data: {dataset.name}, {len(dataset.train_ids)} training studies")
    typer.echo("2/3 train: localiser (stage 1), then crop-sequence net (stage 2)")
    record = train_method(METHOD, dataset, profile, out, seed=DEFAULT_SEED, progress=progress)
    typer.echo(f"3/3 predict: {len(dataset.test_ids)} held-out studies, from their DICOM files")
    predictions = out / "predictions"
    predict_folder(out, dataset.root, predictions, overviews=PICTURES, progress=progress)
    score = score_submission(predictions / "submission.csv", dataset.root / TEST_TRUTH_CSV)
    scored = record.with_scores(score.ids, score.to_dict(), part="calibration")
    check_leakage(scored, raise_on_leak=True)
    scored.write(out / "scored.json")
    result = _result(score)
    result |= {"data": record.data, "weights": record.weights, "method": METHOD}
    result["masked_studies"] = len(dataset.masked_ids)
    result["seconds"] = _seconds(out, time.perf_counter() - start)
    atomic_write_text(out / "result.json", json.dumps(result, indent=1) + "\n")
    typer.echo(summary(result))
    return result


def _result(score: Score) -> dict[str, Any]:
    """Loss of the submission beside that of the best constant on the same studies."""
    loss, base = score.loss["per_exam"], score.constant["per_exam"]
    difference, auroc = score.difference["per_exam"], score.level_auroc
    return {
        "loss": round(loss.value, 4),
        "loss_ci95": _rounded(loss),
        "constant_loss": round(base.value, 4),
        "constant_loss_ci95": _rounded(base),
        "difference": round(difference.value, 4),
        "difference_ci95": _rounded(difference),
        "level_auroc": round(auroc.value, 4),
        "level_auroc_ci95": _rounded(auroc),
        "n_studies": score.n_studies,
        "broken_levels": sum(score.targets[level].positives for level in LEVELS),
        "normalisation": "per_exam",
    }


def _rounded(interval: Interval) -> list[float]:
    return [round(interval.low, 4), round(interval.high, 4)]


def _seconds(out: Path, now: float) -> float:
    """Time of this call, or of the first one where this call found all work done."""
    path = out / "result.json"
    before = float(read_json(path)["seconds"]) if path.exists() else 0.0
    return round(max(before, now), 1)


def summary(result: dict[str, Any]) -> str:
    """The demo's last lines."""

    def row(name: str, key: str) -> str:
        low, high = result[f"{key}_ci95"]
        return f"  {name:34s} {result[key]:7.4f}   [{low:.4f}, {high:.4f}]"

    better = result["difference_ci95"][1] < 0
    return "\n".join(
        [
            "",
            f"competition loss (per exam) on {result['n_studies']} held-out phantom studies, "
            f"95% intervals over studies",
            row("pipeline (two stages)", "loss"),
            row("best constant on the same studies", "constant_loss"),
            row("difference, paired", "difference")
            + ("   the pipeline is better" if better else "   NOT clearly better"),
            row(f"AUROC per level, mean of {len(LEVELS)}", "level_auroc"),
            f"  data: {result['data']}; weights: {result['weights']}; {result['seconds']:.0f} s",
            "  measured on simulated scans: not an RSNA score",
        ]
    )
