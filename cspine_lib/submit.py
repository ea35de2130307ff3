"""A submission file from a trained run and a data folder with a ``test.csv``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cspine_lib.asked_rows import AskedRows
from cspine_lib.errors import CspineError
from cspine_lib.predict import predict_folder, write_csv
from cspine_lib.study_result import StudyModel, StudyResult
from cspine_lib.two_stage import TwoStageModel

SHOWN = 20
"""Studies that a summary names; their JSON files and the log name all."""


@dataclass(frozen=True)
class Submitted:
    """What became of a submission.

    Attributes:
        path: the file.
        rows: in it.
        studies: that it answers for.
        prior: study → why it has the training rates, ``[code] what the code means``.
        sample: how ``test.csv`` differs from the sample submission, empty if it does not.
    """

    path: Path
    rows: int
    studies: int
    prior: Mapping[str, str]
    sample: str = ""

    @property
    def reasons(self) -> Counter[str]:
        """How many studies have the training rates for which reason."""
        return Counter(re.split(r"[\]:]", why)[0].lstrip("[") for why in self.prior.values())

    @property
    def complete(self) -> bool:
        """Whether no study was left out for want of time: the same again would change nothing."""
        return not self.reasons["late"]

    def text(self) -> str:
        """A summary for people."""
        judged = self.studies - len(self.prior)
        lines = [
            f"{self.rows} rows of {self.studies} studies in {self.path.name}",
            f"{judged} studies judged, {len(self.prior)} with the training rates",
        ]
        lines += [f"  {uid}: {why}" for uid, why in list(self.prior.items())[:SHOWN]]
        if len(self.prior) > SHOWN:
            lines.append(f"  and {len(self.prior) - SHOWN} more")
        if not judged:
            lines.append("warning: no study was judged, the whole file is training rates")
        if not self.complete:
            lines.append("the time was over: the same command again goes on where this one ended")
        if self.sample:
            lines.append(f"warning: {self.sample}")
        return "\n".join(lines)


def submit(
    run: str | Path | StudyModel,
    data: str | Path,
    out: str | Path,
    *,
    work: str | Path | None = None,
    minutes: float | None = None,
    workers: int = 1,
    progress: bool = True,
) -> Submitted:
    """Answer the rows of ``test.csv``, in its order, values strictly between 0 and 1.

    One study is in memory at a time.  Finished studies lie in ``work``; a call that was killed
    goes on with the others, and the file appears when it is complete.

    Args:
        run: folder of a run of ``cspine train``, or a loaded model.
        data: folder with ``test.csv`` and ``test_images/``; studies may be missing.
        out: the CSV.
        work: where finished studies are kept [default: beside ``out``].
        minutes: see ``predict.predict_folder``.

    Raises:
        CspineError: no run, no ``test.csv``, or a place that cannot be written to.
    """
    out = Path(out)
    if out.is_dir():
        raise CspineError(f"{out} is a folder: give the name of a CSV file with --out")
    asked = AskedRows.read(data)
    model = TwoStageModel.load(run) if isinstance(run, str | Path) else run
    folder = out.with_name(f"{out.stem}-studies") if work is None else Path(work)
    results = predict_folder(
        model,
        data,
        folder,
        overviews=0,
        report=False,
        minutes=minutes,
        workers=workers,
        progress=progress,
    )
    return _written(asked, results, out)


def _written(asked: AskedRows, results: list[StudyResult], out: Path) -> Submitted:
    answers = asked.answered({r.study: r.probability for r in results})
    try:
        write_csv(answers, out)
    except OSError as error:
        raise CspineError(f"{out} cannot be written: {error.strerror}") from error
    prior = {r.study: r.error for r in results if r.error}
    try:
        sample = asked.differs_from_sample()
    except CspineError as error:  # the answer is there; a spoilt sample does not spoil it
        sample = f"the sample submission cannot be compared: {error}"
    return Submitted(out, len(answers), len(results), prior, sample)
