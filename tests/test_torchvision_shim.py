"""timm must import next to whatever torchvision is installed: broken, healthy or the real one.

Each case runs in a process of its own, for an import cannot be undone.  Stand-ins for
torchvision put in front of the path behave as the two real kinds do.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Registering a shape function for an operator that nobody declared: what torchvision does when
# its compiled part does not load.  Its first submodule is imported by then, as in the real one.
SHAPE_FUNCTION = """
@torch.library.register_fake("torchvision::{0}")
def {0}(dets, scores, iou_threshold):
    return dets.new_empty(0)
"""
DECLARATION = """
_{0} = torch.library.Library("torchvision", "FRAGMENT")
_{0}.define("{0}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
START = "import torch\nimport torchvision.ops\n"
OPERATORS = ("nms", "qnms")
BROKEN = START + "".join(SHAPE_FUNCTION.format(name) for name in OPERATORS)
HEALTHY = START + "".join((DECLARATION + SHAPE_FUNCTION).format(name) for name in OPERATORS)


def stand_in(folder, code):
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    (package / "ops.py").write_text("")
    return folder


def run(code, *first_on_path):
    paths = [*map(str, first_on_path), str(ROOT), *filter(None, sys.path)]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_broken_torchvision_fails_without_and_works_with(tmp_path):
    folder = stand_in(tmp_path, BROKEN)
    without = run("import torchvision", folder)
    assert without.returncode == 1
    assert "operator torchvision::nms does not exist" in without.stderr
    found = run(
        """
        from cspine_lib.torchvision_shim import ensure_torchvision
        print(ensure_torchvision(), ensure_torchvision())
        import torchvision, torch
        print(torchvision.__file__, hasattr(torch.ops.torchvision, "nms"))
        """,
        folder,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [
        *["True", "True"],
        *[str(folder / "torchvision" / "__init__.py"), "True"],
    ]


def test_healthy_torchvision_is_left_alone(tmp_path):
    found = run(
        """
        from cspine_lib import torchvision_shim
        print(torchvision_shim.ensure_torchvision(), torchvision_shim.ensure_torchvision())
        print(torchvision_shim._library)
        """,
        stand_in(tmp_path, HEALTHY),
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["False", "False", "None"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise RuntimeError('something else is wrong')", "something else is wrong"),
        ("raise ImportError('no torchvision')", "no torchvision"),
    ],
)
def test_other_failures_are_not_hidden(tmp_path, code, error):
    found = run(
        "from cspine_lib.torchvision_shim import ensure_torchvision; ensure_torchvision()",
        stand_in(tmp_path, code),
    )
    assert found.returncode == 1
    assert error in found.stderr.splitlines()[-1]


def test_installed_torchvision_serves_timm():
    found = run(
        """
        from cspine_lib.torchvision_shim import ensure_torchvision
        ensure_torchvision()
        import torch, torchvision.transforms, timm
        net = timm.create_model("test_efficientnet.r160_in1k", num_classes=0).eval()
        print(net(torch.zeros(1, 3, 32, 32)).shape[0])
        """
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["1"]


def test_shim_itself_imports_no_torch():
    found = run("import sys, cspine_lib.torchvision_shim; print('torch' in sys.modules)")
    assert found.stdout.split() == ["False"]
