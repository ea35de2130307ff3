"""What the hostile tests share: spoilt bytes, a look at a whole tree, processes that may die."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.labels import LevelBox
from cspine_lib.volume import Volume

LONG = os.environ.get("CSPINE_FUZZ") == "long"
"""Many more examples, other ones each time."""
SECRET = "Zzyzxname"
"""Stands in every tag that identifies a patient; it must come out nowhere."""


def fuzz(examples: int, long: int = 2000) -> settings:
    """Few and always the same examples; with ``CSPINE_FUZZ=long`` many and new ones."""
    return settings(
        max_examples=long if LONG else examples,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def spoilt(draw: st.DrawFn, content: bytes, head: int = 0) -> bytes:
    """Bytes cut off, flipped, overwritten, cut out, doubled; mostly in the first ``head``."""
    out = bytearray(content)
    near = st.integers(0, max(min(head or len(out), len(out)) - 1, 0))
    place = st.one_of(near, near, st.integers(0, max(len(out) - 1, 0)))
    for _ in range(draw(st.integers(1, 4))):
        if not out:
            break
        at = draw(place) % len(out)
        kind = draw(st.sampled_from(["flip", "flip", "write", "write", "cut", "double", "end"]))
        if kind == "flip":
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "write":
            odd = st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"nan ", b"1e30"])
            new = draw(st.one_of(odd, st.binary(min_size=1, max_size=8)))
            out[at : at + len(new)] = new
        elif kind == "cut":
            del out[at : at + draw(st.integers(1, 64))]
        elif kind == "double":
            out[at:at] = out[at : at + draw(st.integers(1, 64))]
        else:
            del out[at:]
    return bytes(out)


def tree(root: Path) -> dict[str, tuple[str, ...]]:
    """Everything below a folder: kind, size, time of change, content or target."""
    found = {}
    for place, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(place) / name
            stat = path.lstat()
            if path.is_symlink():
                what = ("link", os.readlink(path))
            elif path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                what = ("file", digest, str(stat.st_mtime_ns))
            else:
                what = ("folder", oct(stat.st_mode))
            found[os.path.relpath(path, root)] = what
    return found


def in_child(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> int:
    """Run in a forked process; its exit status, or minus the signal that ended it.

    An exception is status 1 and a traceback on stderr.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        before()
        work()
        os._exit(0)
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


def text_stream(number: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    """An open file descriptor as ``sys.stdout`` is one."""
    return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding, write_through=True)


def cspine(
    place: Path, *arguments: object, before: Callable[[], object] = lambda: None
) -> tuple[int, str, str]:
    """The command in a forked process: exit status, stdout and stderr (kept in ``place``)."""
    from cspine_lib.cli import main

    def prepare() -> None:
        for name, stream in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(place / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
            setattr(sys, name, text_stream(stream))
        sys.argv = ["cspine", *map(str, arguments)]
        if "torch" in sys.modules:  # threads of the parent do not survive a fork
            sys.modules["torch"].set_num_threads(1)
        before()

    status = in_child(main, prepare)
    said = [(place / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    return status, said[0], said[1]


def refused(status: int, out: str, err: str) -> str:
    """The one line of a command that ended with status 2."""
    assert (status, err.count("\n")) == (2, 1), (status, err)
    assert err.startswith("cspine: ") and "Traceback" not in err + out
    return err


def memory_limit(mib: int) -> Callable[[], None]:
    """May this process grow by so many MiB and no more."""

    def set_limit() -> None:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + mib * 2**20, resource.RLIM_INFINITY))

    return set_limit


def file_limit(size: int, kill: bool) -> Callable[[], None]:
    """A file cannot grow beyond ``size`` bytes: the process dies there, or the write fails."""

    def set_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return set_limit


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.rmdir"}


def at_change(
    number: int, below: Path, act: Callable[[], object], changes: set[str] = CHANGES
) -> Callable[[], None]:
    """Act just before change ``number`` (from 0) of the file system below a folder."""

    def watch() -> None:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            if not (writes or event in changes):
                return
            if not str(arguments[0]).startswith(str(below)):
                return
            if event == "os.mkdir" and os.path.isdir(str(arguments[0])):
                return  # it is there: nothing changes, whatever the disk
            left -= 1
            if left == -1:
                act()

        sys.addaudithook(hook)

    return watch


def die() -> None:
    """As a power cut: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_room() -> None:
    """As a disk on which nothing is left."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class PlainModel:
    """A model without a network: what the study's mean HU says, and one level in its middle."""

    prior: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0.125))
    trained_on: str = "phantom v0"
    identity: str = "plain"

    def judge_volume(self, volume: Volume) -> tuple[dict[str, float], dict[str, LevelBox]]:
        """Probabilities that differ from study to study."""
        p = 0.2 + 0.6 * float(np.mean(volume.hu_zyx % 97)) / 97
        z, y, x = volume.shape_zyx
        box = LevelBox(LEVELS[2], 0, z - 1, 0, 0, x, y)
        return dict.fromkeys(TARGETS, p), {LEVELS[2]: box}
