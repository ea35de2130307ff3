"""Commands: ``cspine --help``.

Heavy modules are imported inside the commands, so that ``cspine --help`` is quick.
Errors are one line that says what to do; the exit status is 2.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from cspine_lib import __version__
from cspine_lib.backends import end_idle_workers
from cspine_lib.cli_experiments import ablate, final, results, run
from cspine_lib.cli_options import DataOption, ProfileOption, QuietOption, SeedOption
from cspine_lib.cli_predict import predict, submit
from cspine_lib.config import DEFAULT_SEED, get_profile
from cspine_lib.errors import CspineError, printable
from cspine_lib.ranks import (
    end_together,
    lost_contact,
    n_processes,
    others_are_silent,
    speaks_for_all,
    take_own_device,
)
from cspine_lib.reach import profile_in_reach

app = typer.Typer(
    help="Find and localise cervical spine fractures in CT. Not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"cspine {__version__}")
        raise typer.Exit


TOGETHER = ("run", "train")
"""Commands that several processes may run together (torchrun)."""


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if n_processes() > 1 and context.invoked_subcommand not in TOGETHER:
        raise CspineError(
            f"'cspine {context.invoked_subcommand}' is for one process: start it without torchrun "
            f"(several train together in 'cspine {TOGETHER[0]}' and 'cspine {TOGETHER[1]}')"
        )


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
def score(
    submission: Annotated[Path, typer.Argument(help="CSV with row_id, fractured.")],
    truth: Annotated[Path, typer.Argument(help="CSV with the labels, in train.csv's format.")],
) -> None:
    """Competition loss and AUROC with 95% intervals."""
    from cspine_lib.scoring import score_submission

    typer.echo(score_submission(submission, truth).text())


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


for command in (predict, submit, run, final, ablate, results):
    app.command()(command)


def _refuse(message: str) -> None:
    _say_once(f"cspine: {message}")
    sys.exit(2)


def main() -> None:
    """Entry point of ``cspine``: one line for an expected error, no traceback.

    Of several processes that were started together the first speaks; of an error, whoever
    meets it first.
    """
    try:
        _run_app()
    except SystemExit as end:
        if n_processes() > 1:
            end_idle_workers()
        end_together(end.code if isinstance(end.code, int) else 0)
        raise


def _run_app() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a letter gets its number.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with others_are_silent():
            take_own_device()
            app()
    except CspineError as error:
        _refuse(str(error))
    except MemoryError:
        _refuse("not enough memory for this; try fewer or smaller studies")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _refuse(printable(f"{error.strerror or error}{where}; is there room, and may you write?"))
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        _refuse("another process of this training ended; run the same again to go on")
    except KeyboardInterrupt:
        _say_once("cspine: stopped; run the same command again to go on")
        sys.exit(130)


def _say_once(words: str) -> None:
    if speaks_for_all():
        typer.echo(words, err=True)


if __name__ == "__main__":
    main()
