"""A data set in memory with the interface of ``rsna.RsnaDataset``: blocks as vertebrae."""

from dataclasses import dataclass, field

import numpy as np

from cspine_lib.errors import CspineError
from cspine_lib.volume import Volume


@dataclass(frozen=True)
class FakeIssue:
    severity: str
    code: str
    message: str
    file: str = ""


@dataclass(frozen=True)
class FakeSeries:
    volume: Volume
    slice_of_number: dict
    issues: tuple = ()
    reversed: bool = False


@dataclass
class FakeDataset:
    """Seven bright blocks per study, one below the other; study 3 cannot be read."""

    n: int = 6
    shape: tuple = (42, 64, 64)
    spacing: tuple = (4.0, 2.0, 2.0)
    name: str = "fake"
    mark: str = "f" * 20
    log: object = None
    """A file that gets a line for each study read, from whichever process."""
    bad: tuple = ("s3",)
    masked_ids: list = field(default_factory=lambda: ["s0", "s1", "s2", "s4"])
    foreign_mask: tuple = ("s4",)

    @property
    def ids(self):
        return [f"s{i}" for i in range(self.n)]

    def fingerprint(self):
        return self.mark

    def draw(self, uid):
        rng = np.random.default_rng(int(uid[1:]))
        hu = rng.integers(-40, 60, self.shape).astype(np.int16)
        mask = np.zeros(self.shape, dtype=np.uint8)
        x0 = int(rng.integers(16, 30))
        for k in range(7):
            z0 = 4 + 5 * k
            mask[z0 : z0 + 5, 20:44, x0 : x0 + 20] = k + 1
            hu[z0 : z0 + 5, 20:44, x0 : x0 + 20] += 500 + 60 * k
        mask[39:, 20:44, x0 : x0 + 20] = 8
        return hu, mask

    def read_study(self, uid, workers=1):
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(f"{uid}\n")
        if uid in self.bad:
            raise CspineError(f"{uid}: no readable file")
        affine = np.diag([*self.spacing, 1.0])[[2, 1, 0, 3]]
        affine[2] *= -1
        affine[:3, 3] = (-10.0, 5.0, 300.0)
        n = self.shape[0]
        numbers = {i + 2: n - 1 - i for i in range(n)}
        issues = (FakeIssue("warning", "gap", "a gap", "7.dcm"),)
        return FakeSeries(Volume(self.draw(uid)[0], affine), numbers, issues, uid == "s1")

    def read_mask(self, uid, series):
        if uid in self.foreign_mask:
            raise CspineError(f"{uid}: the mask is of another grid")
        return self.draw(uid)[1]
