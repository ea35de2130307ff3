"""Commands that use a trained run: predict, submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cspine_lib.cli_options import QuietOption

RunArgument = Annotated[
    Path, typer.Argument(help="Folder of 'cspine train', or of 'cspine run' with --method.")
]
MethodOption = Annotated[
    str | None, typer.Option("--method", help="Of 'cspine run': all its folds, averaged.")
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=0,
        help="Begin with no study that would end later; the rest gets the training rates.",
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes that decode compressed slices.")
]


def predict(
    run: RunArgument,
    study: Annotated[Path, typer.Argument(help="Folder of DICOM files, or a data folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    method: MethodOption = None,
    overviews: Annotated[
        int | None,
        typer.Option(min=0, help="Pictures and reports for this many studies [default: all]."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="An HTML page per study.")
    ] = True,
    minutes: MinutesOption = None,
    workers: WorkersOption = 1,
    quiet: QuietOption = False,
) -> None:
    """Eight probabilities per study, its levels and boxes, a picture and a report; resumes."""
    from cspine_lib.fold_predictors import FoldEnsemble
    from cspine_lib.predict import predict_folder

    result = predict_folder(
        run if method is None else FoldEnsemble.load(run, method),
        study,
        out,
        overviews=overviews,
        report=report,
        minutes=minutes,
        workers=workers,
        progress=not quiet,
    )
    typer.echo(f"{len(result)} studies predicted, results in {out}")


def submit(
    run: RunArgument,
    data: Annotated[Path, typer.Argument(help="Folder with test.csv and test_images.")],
    out: Annotated[Path, typer.Option("--out", help="The CSV.")] = Path("submission.csv"),
    method: MethodOption = None,
    minutes: MinutesOption = None,
    work: Annotated[
        Path | None, typer.Option("--work", help="Finished studies [default: beside the CSV].")
    ] = None,
    workers: WorkersOption = 1,
    quiet: QuietOption = False,
) -> None:
    """A submission: the rows of test.csv in its order, whatever cannot be read; resumes."""
    from cspine_lib.fold_predictors import FoldEnsemble
    from cspine_lib.submit import submit as write

    model = run if method is None else FoldEnsemble.load(run, method)
    done = write(model, data, out, work=work, minutes=minutes, workers=workers, progress=not quiet)
    typer.echo(done.text())
