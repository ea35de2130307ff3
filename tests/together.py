"""Programs that several processes run together, for test_ranks.py and test_several_processes.py."""

import json
import os
import sys
from pathlib import Path

import torch


class Remains:
    """Writes a note when the interpreter is taken down, which clears the module that holds it."""

    def __init__(self, note: Path) -> None:
        self._note, self._touch = str(note), os.open

    def __del__(self) -> None:
        self._touch(self._note, 0o101)  # to write, made where it is not there


def join() -> None:
    """Make two accelerators and print how many processes take part."""
    from cspine_lib.loops import make_accelerator

    for _ in range(2):
        print(make_accelerator("no").num_processes)


def count(out: str) -> None:
    """Note what this process trained on and what predictions of sets of any size hold."""
    from tiny_fit import SETTINGS, TensorBatches, bce, tiny_net

    from cspine_lib.engine import fit, predict
    from cspine_lib.ranks import end_together

    seen: list[int] = []

    def note(inputs, targets, generator):
        if generator is not None:
            seen.extend(inputs[0][:, 0, 0, 0].long().tolist())
        return inputs, targets

    def numbered(n: int) -> TensorBatches:
        images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 8, 8).contiguous()
        return TensorBatches(images, (torch.arange(n) % 2).float())

    from dataclasses import replace

    settings = replace(SETTINGS, epochs=1, metric="val_n")
    result = fit(
        tiny_net(), numbered(43), numbered(13), loss=bce, settings=settings, out_dir=Path(out),
        collate=TensorBatches.collate, batch_transform=note, progress=False,
        evaluate=lambda outputs, targets: {"val_n": len(targets)},
    )  # fmt: skip

    class First(torch.nn.Module):
        def forward(self, x):
            return {"first": x[:, 0, 0, 0]}

    sets = {
        n: predict(
            First(), numbered(n), batch_size=4, collate=TensorBatches.collate
        )["first"].tolist()
        for n in (1, 2, 3, 4, 5, 9, 17)
    }  # fmt: skip
    rank = os.environ["RANK"]
    found = {"seen": seen, "sets": sets, "val_n": result.history[0]["val_n"]}
    Path(out, f"rank{rank}.json").write_text(json.dumps(found))
    end_together(0)


def fail(rank: str, how: str, methods: str, out: str) -> None:
    """``cspine run``, in which one process fails where it makes the training's data set."""
    from cspine_lib import cli, whole_neck
    from cspine_lib.errors import CspineError

    def broken(*args, **options):
        if how == "kill":
            os.kill(os.getpid(), 9)
        raise CspineError("this process is bad")

    global remains
    remains = Remains(Path(out).with_name(f"down{os.environ['RANK']}"))
    if os.environ["RANK"] == rank:
        whole_neck.CubeDataset = broken  # type: ignore[assignment,misc]
    sys.argv = ["cspine", "run", "--methods", methods, "--folds", "0", "--out", out]
    cli.main()


if __name__ == "__main__":
    {"join": join, "count": count, "fail": fail}[sys.argv[1]](*sys.argv[2:])
