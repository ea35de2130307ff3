"""The report of one study: a single HTML page that asks nothing of any network.

Everything that is printed was either written here, or is a number, or goes through
``html.escape``.  No text of a DICOM file and no file name reaches the page.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from cspine_lib import __version__
from cspine_lib.anatomy import LEVELS, OVERALL, TARGETS
from cspine_lib.issue_help import meaning
from cspine_lib.issues import Issue
from cspine_lib.labels import LevelBox
from cspine_lib.plots import LEVEL_COLOUR
from cspine_lib.report_figures import sagittal_png, slice_png
from cspine_lib.report_style import CSP, CSS, PAPER_CSS
from cspine_lib.study_result import (
    NOT_FOR_CLINIC,
    PHANTOM_ONLY,
    Frames,
    StudyModel,
    StudyResult,
    about,
    is_phantom_only,
)
from cspine_lib.volume import Volume

MOST_FRAMES = 3
"""Frames shown of each level, those with the largest weights."""
SEVERITY = {"error": "could not be used", "warning": "dealt with"}


@dataclass(frozen=True, eq=False)
class Report:
    """What a page is made of.

    Attributes:
        volume: None for a study that could not be read.
        facts: names and values for the section on the model.
        files: one sentence on the files that were read.
    """

    result: StudyResult
    volume: Volume | None
    prior: Mapping[str, float]
    facts: Mapping[str, str] = field(default_factory=dict)
    phantom_only: bool = True
    files: str = ""

    @classmethod
    def of(
        cls, result: StudyResult, volume: Volume | None, model: StudyModel, files: str = ""
    ) -> Report:
        """The report of what a model said of a study."""
        return cls(result, volume, model.prior, about(model), is_phantom_only(model), files)

    def html(self) -> str:
        """The page, the same for the same input."""
        result = self.result
        parts = [
            _probabilities(result, self.prior),
            _levels(result, self.volume, self.prior),
            _frames(result, self.volume),
            _findings(result, self.files, self.volume),
            _model(self.facts),
            _HOW_TO_READ,
        ]
        title = f"Cervical spine fractures: {escape(result.study)}"
        paper = f"{NOT_FOR_CLINIC} {PHANTOM_ONLY}" if self.phantom_only else NOT_FOR_CLINIC
        return _PAGE.format(
            title=title,
            csp=CSP,
            css=CSS + PAPER_CSS.format(words=paper),
            cautions=_cautions(self.phantom_only),
            summary=_summary(result, self.prior),
            body="\n".join(part for part in parts if part),
        )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{csp}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{cautions}
{summary}
</header>
<main>
{body}
</main>
<footer>
{cautions}
</footer>
</body>
</html>
"""

_HOW_TO_READ = """<section>
<h2>How to read this page</h2>
<p>A probability of 0.30 means: of all studies of the training data's kind that got 0.30, about
three in ten had the fracture. It was set so on studies like those of training, and need not hold
for other scanners or other patients.</p>
<p>The mark in each bar is the training rate: what would be said without looking at the scan. A
bar that ends at its mark tells nothing.</p>
<p>A level says which vertebra, never where in it. The boxes show where the method looked, and are
no outline of a fracture.</p>
</section>"""


def _cautions(phantom_only: bool) -> str:
    """The words that stand at both ends of every page."""
    lines = [f'<p class="caution">{escape(NOT_FOR_CLINIC)}</p>']
    if phantom_only:
        lines.insert(0, f'<p class="caution phantom">{escape(PHANTOM_ONLY)}</p>')
    return "\n".join(lines)


def shown(p: float) -> str:
    """A probability in two digits; never 0 or 1, which it is not."""
    if p < 0.005:
        return "&lt;0.01"
    return "&gt;0.99" if p > 0.995 else f"{p:.2f}"


def _summary(result: StudyResult, prior: Mapping[str, float]) -> str:
    if result.error:
        return (
            '<p class="sum"><strong>This study was not judged.</strong> The numbers below are '
            f"training rates and tell nothing about it. {escape(result.error)}</p>"
        )
    p, rate = result.probability, prior[OVERALL]
    first = max(LEVELS, key=lambda level: p[level])
    return (
        '<p class="sum">Probability that any level is broken: '
        f"<strong>{shown(p[OVERALL])}</strong> (training rate {shown(rate)}). "
        f"The highest level is {first} with {shown(p[first])} "
        f"(training rate {shown(prior[first])}).</p>"
    )


# --- sections ---------------------------------------------------------------------------------


def _probabilities(result: StudyResult, prior: Mapping[str, float]) -> str:
    rows = "\n".join(_bar_row(t, result.probability[t], prior[t]) for t in TARGETS)
    return f"""<section>
<h2>Probabilities of a fracture</h2>
<table>
<caption>Calibrated probability, beside the training rate (the mark in the bar).</caption>
<thead><tr><th scope="col">level</th><th scope="col" class="n">probability</th>
<th scope="col" class="n">training rate</th><th scope="col">from 0 to 1</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</section>"""


def _bar_row(target: str, p: float, rate: float) -> str:
    name = "Any level" if target == OVERALL else target
    colour = LEVEL_COLOUR.get(target, "#fff")
    key = "" if target == OVERALL else f'<span class="key" style="background:{colour}"></span>'
    words = f"{name}: {shown(p)}, training rate {shown(rate)}"
    return (
        f'<tr{" class=all" if target == OVERALL else ""}><th scope="row">{key}{name}</th>'
        f'<td class="n">{shown(p)}</td><td class="n">{shown(rate)}</td>'
        f'<td class="wide"><div class="bar" role="img" aria-label="{words}">'
        f'<b style="width:{100 * p:.1f}%"></b><i style="left:{100 * rate:.1f}%"></i>'
        "</div></td></tr>"
    )


def _levels(result: StudyResult, volume: Volume | None, prior: Mapping[str, float]) -> str:
    if volume is None:
        return ""
    missing = [level for level in LEVELS if level not in result.levels]
    if not result.levels:
        words = "This method claimed no level here: the view goes through the middle of the scan."
    elif missing:
        words = f"Not found: {', '.join(missing)}."
        if all(abs(result.probability[k] - prior[k]) < 1e-6 for k in missing):
            words += " Their probabilities are training rates."
    else:
        words = "All seven levels were found."
    ranges = ", ".join(f"{k} slices {b.z0 + 1} to {b.z1 + 1}" for k, b in result.levels.items())
    alt = f"Sagittal view of the neck. {ranges or 'No level is marked'}."
    picture = _image(sagittal_png(volume, result.levels, result.probability), alt)
    return f"""<section class="view">
<h2>Levels</h2>
<p>{words} {escape(result.remark)}</p>
<figure class="sagittal">{picture}
<figcaption>Boxes: where the method places each level. Strip: its slices, and its probability.
</figcaption></figure>
</section>"""


def _frames(result: StudyResult, volume: Volume | None) -> str:
    if volume is None or not result.levels:
        return ""
    if result.frames:
        heading = "Frames with the most attention"
        words = (
            "Of each level the frames (three slices each) that weighed most, and the level's box. "
            "Attention says which frames the answer was drawn from, not where a fracture is."
        )
    else:
        heading = "Middle slices of the levels"
        words = "This method has no attention, so these are the levels' middle slices with the box."
    blocks = [_level_block(name, box, result, volume) for name, box in result.levels.items()]
    return f"""<section>
<h2>{heading}</h2>
<p>{words}</p>
<div class="levels">
{"".join(blocks)}
</div>
</section>"""


def _level_block(name: str, box: LevelBox, result: StudyResult, volume: Volume) -> str:
    n = volume.shape_zyx[0]
    frames = result.frames.get(name)
    pictures = []
    for z, weight in _picked(box, frames):
        where = f"slice {min(max(z, 0), n - 1) + 1} of {n}"
        share = "" if weight is None else f", weight {weight:.2f}"
        image = _image(slice_png(volume, z, box), f"{name}, axial {where}, with the level's box")
        caption = f"<figcaption>{where}{share}</figcaption>"
        pictures.append(f"<figure>{image}{caption}</figure>")
    return (
        f'<div class="level"><h3>{name}, probability {shown(result.probability[name])}</h3>'
        f'<div class="row">{"".join(pictures)}</div></div>\n'
    )


def _picked(box: LevelBox, frames: Frames | None) -> Sequence[tuple[int, float | None]]:
    """Slice (the middle one of its frame) and weight, heaviest first; or the middle slice."""
    if frames is None:
        return [(round(box.centre_zyx[0]), None)]
    order = np.argsort(-frames.weight, kind="stable")[:MOST_FRAMES]
    middle = frames.z.shape[1] // 2
    return [(int(frames.z[t, middle]), float(frames.weight[t])) for t in order]


def _findings(result: StudyResult, files: str, volume: Volume | None) -> str:
    scan = ""
    if volume is not None:
        z, y, x = volume.shape_zyx
        dz, dy, dx = volume.spacing_zyx_mm
        scan = f"{z} slices of {y} × {x} pixels, {dz:.2f} mm apart, {dy:.2f} × {dx:.2f} mm each."
    rows = "\n".join(_finding_row(issue) for issue in result.issues)
    if rows:
        words = f"""<table>
<caption>What the reader of the files warned about.</caption>
<thead><tr><th scope="col">finding</th><th scope="col">what was found</th>
<th scope="col">what it means</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
    elif result.error:
        words = "<p>The study was not read to its end.</p>"
    else:
        words = '<p class="none">The reader of the files found nothing to warn about.</p>'
    return f"""<section>
<h2>The files</h2>
<p>{scan}</p>
<p>{escape(files)}</p>
{words}
</section>"""


def _finding_row(issue: Issue) -> str:
    return (
        f'<tr><th scope="row">{escape(issue.code.replace("_", " "))}<br>'
        f'<span class="none">{SEVERITY.get(issue.severity, "")}</span></th>'
        f"<td>{escape(issue.message)}</td><td>{escape(meaning(issue.code))}</td></tr>"
    )


def _model(facts: Mapping[str, str]) -> str:
    rows = {**facts, "library": f"cspine_lib {__version__}"}
    lines = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    return f"<section>\n<h2>Model and data</h2>\n<dl>\n{lines}\n</dl>\n</section>"


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
