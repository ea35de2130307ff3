"""Kaggle kernel: install the attached bundle without a network, predict, write submission.csv.

``make kaggle RUN=...`` puts this file beside its kernel-metadata.json.  It runs wherever the two
mounts are: with CSPINE_ROOT=FOLDER everything under /kaggle is looked for under FOLDER/kaggle.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

KAGGLE = Path(os.environ.get("CSPINE_ROOT") or "/") / "kaggle"
BUNDLE = "cspine-bundle"


def bundle_folder() -> Path:
    """Where the bundle is mounted: directly under input/, or under its owner's name."""
    owned = sorted(KAGGLE.glob(f"input/datasets/*/{BUNDLE}"))
    for folder in (KAGGLE / "input" / BUNDLE, *owned):
        if folder.is_dir():
            return folder
    sys.exit(f"no data set {BUNDLE} is attached: add it as input of this kernel")


def install(bundle: Path) -> None:
    """Install the library and what the image lacks; what is there already, torch too, stays."""
    if find_spec("cspine_lib") is None:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index"]
        done = subprocess.run([*pip, "-f", str(bundle), "cspine-lib[weights,winners]"], check=False)
        if done.returncode:
            sys.exit("the bundle does not fit this image: pip's lines above name what it lacks")


def predict(run: Path, data: Path, out: Path) -> Path:
    """The submission of one run for the studies of test.csv; returns the file."""
    from cspine_lib.jobs import usable_cores
    from cspine_lib.predict import PHANTOM_ONLY, predict_folder
    from cspine_lib.two_stage import TwoStageModel

    model = TwoStageModel.load(run)
    print(f"{model.record.method}, profile {model.profile.name}, trained on {model.trained_on}")
    if model.trained_on.startswith("phantom"):
        print(PHANTOM_ONLY)
    results = predict_folder(model, data, out, overviews=0, workers=usable_cores())
    print(f"{len(results)} studies, {sum(bool(r.error) for r in results)} of them unreadable")
    return out / "submission.csv"


def check(submission: Path, data: Path) -> None:
    """Every row of test.csv in its order, a probability in each."""
    import pandas as pd

    said, wanted = pd.read_csv(submission), pd.read_csv(data / "test.csv", dtype=str)
    if said["row_id"].tolist() != wanted["row_id"].tolist():
        sys.exit("submission.csv has other rows than test.csv: nothing is submitted")
    if not said["fractured"].between(0, 1).all():
        sys.exit("submission.csv holds values that are no probabilities: nothing is submitted")


def main() -> None:
    """From the mounts to working/submission.csv."""
    bundle = bundle_folder()
    install(bundle)
    from cspine_lib.config.platforms import find_platform, gpu_names
    from cspine_lib.sources import submission_set

    data, platform = submission_set(), find_platform()
    print(f"data in {data}; GPUs: {', '.join(gpu_names()) or 'none'}")
    scratch = platform.scratch or KAGGLE / "temp"
    submission = predict(bundle / "run", data, scratch / "predictions")
    check(submission, data)
    place = (platform.keep or KAGGLE / "working") / "submission.csv"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(submission, place)
    print(f"written: {place}")


if __name__ == "__main__":
    main()
