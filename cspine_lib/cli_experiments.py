"""Commands about methods on the same folds: run, final, ablate, results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cspine_lib.cli_options import (
    DataOption,
    MethodsOption,
    ProfileOption,
    QuietOption,
    RecordOption,
    SeedOption,
)
from cspine_lib.config import DEFAULT_SEED, get_profile
from cspine_lib.reach import profile_in_reach


def run(
    methods: MethodsOption = "all",
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


def final(
    methods: MethodsOption = "all",
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
