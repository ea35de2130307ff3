"""Commands: ``cspine --help``.

Heavy modules are imported inside the commands, so that ``cspine --help`` is quick.
Errors are one line that says what to do; the exit status is 2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cspine_lib import __version__
from cspine_lib.config import DEFAULT_SEED, get_profile
from cspine_lib.errors import CspineError
from cspine_lib.reach import profile_in_reach

app = typer.Typer(
    help="Find and localise cervical spine fractures in CT. Not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="ci, laptop, gpu or rsna [default: laptop].")
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="Data folder [default: the profile's phantom].")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")]
RecordOption = Annotated[bool, typer.Option("--record", help="Put records into results/.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"cspine {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    profile: ProfileOption = None,
    studies: Annotated[int | None, typer.Option(min=1, help="Training studies.")] = None,
    test_studies: Annotated[int | None, typer.Option(min=0, help="Test studies.")] = None,
    masked: Annotated[int | None, typer.Option(min=0, help="Studies with a mask.")] = None,
    difficulty: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Visibility of fractures, 0 to 1.")
    ] = None,
    seed: SeedOption = DEFAULT_SEED,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Make a simulated data set in RSNA's layout."""
    from cspine_lib.sources import make_profile_phantom

    chosen = get_profile(profile)
    path = make_profile_phantom(
        chosen,
        out,
        train=studies,
        test=test_studies,
        masked=masked,
        difficulty=difficulty,
        seed=seed,
        workers=workers,
        quiet=quiet,
    )
    typer.echo(f"phantom in {path}")


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Data folder.")],
    quiet: QuietOption = False,
) -> None:
    """Show what a data folder holds and what is wrong with it; exit 1 on errors."""
    from cspine_lib.integrity import check_dataset
    from cspine_lib.jobs import usable_cores

    report = check_dataset(data, workers=usable_cores(), progress=not quiet)
    typer.echo(report.text())
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="Name of a method; 'cspine methods' lists them.")],
    data: DataOption = None,
    profile: ProfileOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder.")] = None,
    seed: SeedOption = DEFAULT_SEED,
    quiet: QuietOption = False,
) -> None:
    """Train a method on all training studies; run again to resume."""
    from cspine_lib.config import runs_home
    from cspine_lib.methods import train_method
    from cspine_lib.recipes import get_recipe
    from cspine_lib.sources import dataset_for

    chosen, recipe = profile_in_reach(profile), get_recipe(method)
    dataset = dataset_for(chosen, data, quiet=quiet)
    folder = out or runs_home() / f"{recipe.name}-{chosen.name}"
    record = train_method(method, dataset, chosen, folder, seed=seed, progress=not quiet)
    typer.echo(f"{method}: trained in {record.seconds:.0f} s on {record.device}, run in {folder}")


@app.command()
def methods() -> None:
    """List the methods."""
    from cspine_lib.recipes import RECIPES

    for recipe in RECIPES.values():
        typer.echo(f"{recipe.name:18s} {recipe.title}  [{recipe.slide}]")


@app.command()
def run(
    methods: Annotated[str, typer.Option("--methods", help="'all', or names with commas.")] = "all",
    data: DataOption = None,
    profile: ProfileOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the experiment.")] = None,
    folds: Annotated[
        str | None, typer.Option("--folds", help="Which, e.g. 0 or 0,1 [default: all].")
    ] = None,
    record: RecordOption = False,
    tag: Annotated[
        str,
        typer.Option("--tag", help="Name of the records; another than cv may be of some folds."),
    ] = "cv",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", help="Folds trained at once [default: 1 on a GPU, else the cores]."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    seed: SeedOption = DEFAULT_SEED,
    quiet: QuietOption = False,
) -> None:
    """Train methods on the same outer folds and predict what was held out; resumes."""
    from cspine_lib.experiment import chosen_methods, cv_folder
    from cspine_lib.fold_jobs import fold_numbers, run_methods
    from cspine_lib.results import results_home
    from cspine_lib.sources import dataset_for

    chosen = profile_in_reach(profile)
    names = chosen_methods(methods)
    if dry_run:
        from cspine_lib.plan import plan_before_data, refuse_what_cannot_be_held

        plan = plan_before_data(names, chosen, data, out, fold_numbers(folds, chosen.folds))
        typer.echo(plan.text())
        refuse_what_cannot_be_held(plan)
        return
    dataset = dataset_for(chosen, data, quiet=quiet)
    run_methods(
        names,
        dataset,
        chosen,
        out or cv_folder(dataset, chosen),
        folds=folds,
        record_in=results_home() if record else None,
        tag=tag,
        jobs=jobs,
        seed=seed,
        progress=not quiet,
    )


@app.command()
def final(
    methods: Annotated[str, typer.Option("--methods", help="'all', or names with commas.")] = "all",
    data: DataOption = None,
    profile: ProfileOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the experiment.")] = None,
    record: RecordOption = False,
    seed: SeedOption = DEFAULT_SEED,
    quiet: QuietOption = False,
) -> None:
    """Score each method's fold models, averaged, on a phantom that none has seen; resumes."""
    from cspine_lib.experiment import chosen_methods, cv_folder
    from cspine_lib.final_set import score_on_final
    from cspine_lib.results import results_home
    from cspine_lib.sources import dataset_for

    chosen = profile_in_reach(profile)
    dataset = dataset_for(chosen, data, quiet=quiet)
    folder, place = out or cv_folder(dataset, chosen), results_home() if record else None
    for name in chosen_methods(methods):
        done = score_on_final(
            name, dataset, chosen, folder, record_in=place, seed=seed, progress=not quiet
        )
        loss, (low, high) = done.scores["loss"], done.scores["ci95"]
        typer.echo(f"  {name:14s} {loss:.4f} [{low:.4f}, {high:.4f}] on {done.data}")


@app.command()
def ablate(
    profile: ProfileOption = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Data folder [default: the profile's tune set].")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the trainings.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Stage 2 with a piece taken away at a time: one fold, two epochs, tune set; resumes."""
    from cspine_lib.ablations import ablate_profile

    ablate_profile(profile_in_reach(profile), data, out, progress=not quiet)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained method.")],
    study: Annotated[Path, typer.Argument(help="Folder of DICOM files, or a data folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    overviews: Annotated[
        int | None, typer.Option(min=0, help="Pictures for this many studies [default: all].")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Eight probabilities per study, its levels and boxes, and a picture."""
    from cspine_lib.predict import predict_folder

    result = predict_folder(run, study, out, overviews=overviews, progress=not quiet)
    typer.echo(f"{len(result)} studies predicted, results in {out}")


@app.command()
def score(
    submission: Annotated[Path, typer.Argument(help="CSV with row_id, fractured.")],
    truth: Annotated[Path, typer.Argument(help="CSV with the labels, in train.csv's format.")],
) -> None:
    """Competition loss and AUROC with 95% intervals."""
    from cspine_lib.scoring import score_submission

    typer.echo(score_submission(submission, truth).text())


@app.command()
def results(
    folder: Annotated[Path | None, typer.Argument(help="Of records [default: results/].")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object per method and profile, for programs.")
    ] = False,
    time: Annotated[
        int, typer.Option("--time", min=0, help="First time so many studies, into the records.")
    ] = 0,
    data: DataOption = None,
    profile: ProfileOption = None,
) -> None:
    """Tables of the recorded runs: losses, differences to the constant and between methods."""
    from cspine_lib.comparison import load_groups
    from cspine_lib.summaries import shown

    if time:
        from cspine_lib.predictors import time_records
        from cspine_lib.sources import dataset_for

        chosen = get_profile(profile)
        time_records(folder, dataset_for(chosen, data, quiet=True), chosen, time)
    typer.echo(shown(load_groups(folder), as_json))


@app.command()
def prepare(
    profile: ProfileOption = None,
    data: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make the profile's phantom and its cache now, instead of on first use."""
    from cspine_lib.sources import dataset_for
    from cspine_lib.two_stage import open_cache

    chosen = get_profile(profile)
    dataset = dataset_for(chosen, data, quiet=quiet)
    cache = open_cache(dataset, chosen, progress=not quiet)
    typer.echo(f"{dataset.name}: {len(cache.ids)} studies ready in {dataset.root}")


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Run folder.")] = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
) -> None:
    """Phantom, training, prediction and score of deck B's two-stage pipeline, in one go."""
    from cspine_lib.config import runs_home
    from cspine_lib.demo import run_demo

    run_demo(profile_in_reach(profile), out or runs_home() / "demo", progress=not quiet)


def main() -> None:
    """Entry point of ``cspine``: one line for an expected error, no traceback."""
    try:
        app()
    except CspineError as error:
        typer.echo(f"cspine: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("cspine: stopped; run the same command again to go on", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
