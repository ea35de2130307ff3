"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="ci, laptop, gpu or rsna [default: laptop].")
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="Data folder [default: the profile's phantom].")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")]
RecordOption = Annotated[bool, typer.Option("--record", help="Put records into results/.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
METHODS_HELP = "Names with commas; all: deck B's four; deck-a, winners; systems: everything."
MethodsOption = Annotated[str, typer.Option("--methods", help=METHODS_HELP)]
