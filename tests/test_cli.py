"""Commands: what they print, their exit status, and one line for an error."""

import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from cspine_lib import cli, demo
from cspine_lib.cli import app
from cspine_lib.recipes import RECIPES

runner = CliRunner()


def run(*arguments, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-m", "cspine_lib.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_methods_are_listed_by_name():
    result = runner.invoke(app, ["methods"])
    assert result.exit_code == 0
    assert all(name in result.output for name in RECIPES)


def test_check_passes_on_a_phantom_and_fails_on_a_broken_one(ci_phantom, tmp_path):
    assert runner.invoke(app, ["check", str(ci_phantom), "-q"]).exit_code == 0
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(ci_phantom, broken)
    table = pd.read_csv(broken / "train.csv")
    table.loc[0, "patient_overall"] = 1 - table.loc[0, "patient_overall"]
    table.to_csv(broken / "train.csv", index=False)
    result = runner.invoke(app, ["check", str(broken), "-q"])
    assert result.exit_code == 1
    assert table.loc[0, "StudyInstanceUID"] in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "magic"], "known methods"),
        (["train", "crop_bilstm", "--profile", "huge"], "known profiles"),
        (["predict", "nowhere", "nowhere", "--out", "x"], "nowhere"),
        (["score", "none.csv", "none.csv"], "none.csv"),
        (["check", "nowhere"], "nowhere"),
        (["train", "crop_bilstm", "--data", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_one_line_and_exit_2(arguments, words, tmp_path):
    result = run(*arguments, CSPINE_HOME=str(tmp_path))
    assert result.returncode == 2
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_help_is_quick_to_import():
    code = "import sys, cspine_lib.cli; print('torch' in sys.modules, 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", stop)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130 and "again" in capsys.readouterr().err


def test_summary_says_when_the_pipeline_is_not_better():
    result = {
        "loss": 0.6,
        "loss_ci95": [0.5, 0.7],
        "constant_loss": 0.56,
        "constant_loss_ci95": [0.5, 0.6],
        "difference": 0.04,
        "difference_ci95": [-0.1, 0.2],
        "level_auroc": 0.5,
        "level_auroc_ci95": [0.4, 0.6],
        "n_studies": 9,
        "data": "phantom",
        "weights": "random",
        "seconds": 3.0,
    }
    assert "NOT clearly better" in demo.summary(result)
    assert "NOT" not in demo.summary({**result, "difference_ci95": [-0.3, -0.1]})
    assert "not an RSNA score" in demo.summary(result)
