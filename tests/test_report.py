"""The report page: self-contained, escaped, accessible, honest about its model, without a name."""

import io
import logging
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import report_factory as factory
from PIL import Image
from typer.testing import CliRunner

from cspine_lib.anatomy import LEVELS, TARGETS
from cspine_lib.cli import app
from cspine_lib.issue_help import MEANING
from cspine_lib.issues import Issue
from cspine_lib.predict import predict_folder
from cspine_lib.report import Report, shown
from cspine_lib.rsna import open_dataset
from cspine_lib.study_result import NOT_FOR_CLINIC, PHANTOM_ONLY

MAX_BYTES = 3_000_000


VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a page holds: elements with attributes, open elements, text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def page(result=None, volume=None, **options):
    volume = volume if volume is not None else factory.volume()
    model = factory.Model(**options)
    return Report.of(result or factory.result(), volume, model, "70 files lay there.").html()


def test_asks_no_network_for_anything():
    text = page()
    found = Page(text)
    assert not found.open, "elements are left open"
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    assert all(img["src"].startswith("data:image/png;base64,") for img in found.all("img"))
    assert not {"script", "link", "iframe", "object", "form", "base", "svg", "a"} & {
        name for name, _ in found.elements
    }
    policy = next(m for m in found.all("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy["content"]


def test_is_accessible():
    found = Page(page())
    assert found.all("html")[0]["lang"] == "en" and found.all("title")
    assert all(len(img["alt"]) > 10 for img in found.all("img"))
    heads = [int(name[1]) for name, _ in found.elements if re.fullmatch(r"h\d", name)]
    assert heads.count(1) == 1 and heads[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(heads))
    names = [name for name, _ in found.elements]
    assert {"header", "main", "footer"} <= set(names)
    assert all("scope" in th for th in found.all("th"))
    bars = [d for d in found.all("div") if d.get("role") == "img"]
    assert len(bars) == len(TARGETS) and all("training rate" in d["aria-label"] for d in bars)


def _luminance(colour):
    colour = colour.lstrip("#")
    colour = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast():
    """Every text colour against the ground of its own rule, else white: 7 to 1 (WCAG AAA)."""
    css = re.search(r"<style>(.*?)</style>", page(), flags=re.S)[1]
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", css)
    seen = 0
    for name, body in rules:
        text = re.search(r"(?<![-\w])color:\s*(#\w+)", body)
        ground = re.search(r"background:\s*(#\w+)", body)
        if text:
            a, b = sorted((_luminance(text[1]), _luminance(ground[1] if ground else "#ffffff")))
            assert (b + 0.05) / (a + 0.05) >= 7, name
            seen += 1
    assert seen > 5


def test_probabilities_stand_beside_the_prior():
    text = page()
    assert re.search(r'C2</th><td class="n">0\.42</td><td class="n">0\.20</td>', text)
    assert "width:42.0%" in text and "left:20.0%" in text
    assert "Probability that any level is broken: <strong>0.60</strong>" in text


@pytest.mark.parametrize(("p", "words"), [(1e-6, "&lt;0.01"), (0.9999, "&gt;0.99"), (0.5, "0.50")])
def test_a_probability_is_never_shown_as_certain(p, words):
    assert shown(p) == words


def test_frames_are_the_heaviest_with_their_weights():
    found = Page(page())
    assert "Frames with the most attention" in found.text
    boxes, frames = factory.levels(), factory.frames(factory.levels())
    for name in boxes:
        z = frames[name].z[:, 1]
        for t in (7, 6, 5):  # the weights grow towards the feet
            assert f"slice {z[t] + 1} of 70, weight {frames[name].weight[t]:.2f}" in found.text
        assert f"slice {z[4] + 1} of 70, weight" not in found.text
    assert len(found.all("img")) == 1 + 3 * len(LEVELS)


def test_the_box_is_drawn_on_its_slice():
    from cspine_lib.plots import LEVEL_COLOUR
    from cspine_lib.report_figures import slice_png

    volume, box = factory.volume(), factory.levels()["C6"]
    picture = Image.open(io.BytesIO(slice_png(volume, box.z0, box))).convert("RGB")
    want = tuple(int(LEVEL_COLOUR["C6"][i : i + 2], 16) for i in (1, 3, 5))
    pixels = picture.load()
    near = [
        (x, y)
        for x in range(picture.width)
        for y in range(picture.height)
        if max(abs(a - b) for a, b in zip(pixels[x, y], want, strict=True)) < 40
    ]
    xs, ys = zip(*near, strict=True)
    for low, high in ((min(xs), max(xs)), (min(ys), max(ys))):
        assert (high - low) / picture.width == pytest.approx(0.62, abs=0.04)
        assert (high + low) / 2 == pytest.approx(picture.width / 2, abs=5)


def test_a_slice_beyond_the_scan_is_taken_to_its_end():
    from cspine_lib.report_figures import slice_png

    box = factory.levels()["C7"]
    assert slice_png(factory.volume(), 500, box) == slice_png(factory.volume(), 69, box)


def test_a_method_without_attention_says_so():
    found = Page(page(factory.result(frames={})))
    assert "no attention" in found.text and "Frames with the most" not in found.text
    assert len(found.all("img")) == 1 + len(LEVELS)


def test_a_method_without_levels_says_so():
    found = Page(page(factory.result(frames={}, levels={})))
    assert "claimed no level" in found.text and len(found.all("img")) == 1


def test_levels_that_were_not_found_are_named():
    boxes = factory.levels()
    del boxes["C1"], boxes["C7"]
    found = Page(page(factory.result(levels=boxes, frames=factory.frames(boxes))))
    assert "Not found: C1, C7. Their probabilities are training rates." in found.text
    judged = factory.probability(C1=0.3)  # by a method that needs no level
    other = factory.result(levels=boxes, frames={}, probability=judged)
    assert "are training rates" not in Page(page(other)).text


def test_findings_of_the_reader_come_with_their_meaning():
    issues = (Issue("warning", "missing_slices", "3 slices are missing", "DOE_JOHN_7.dcm"),)
    found = Page(page(factory.result(issues=issues)))
    assert "3 slices are missing" in found.text and MEANING["missing_slices"] in found.text
    assert "DOE_JOHN" not in found.text
    assert "nothing to warn about" in Page(page()).text


def test_model_data_and_version_are_told():
    from cspine_lib import __version__

    found = Page(page(trained_on="RSNA 2022", identity="cafe0123"))
    for words in ("a stand-in", "RSNA 2022", "cafe0123", f"cspine_lib {__version__}", "70 files"):
        assert words in found.text


def test_a_phantoms_model_says_so_first_and_last_and_on_paper():
    text = page()
    assert text.count(f'<p class="caution phantom">{PHANTOM_ONLY}</p>') == 2
    assert text.count(f'<p class="caution">{NOT_FOR_CLINIC}</p>') == 2
    assert f'content: "{NOT_FOR_CLINIC} {PHANTOM_ONLY}"' in text
    assert text.index(PHANTOM_ONLY) < text.index("Probability that")
    real = page(trained_on="RSNA 2022")
    assert PHANTOM_ONLY not in real and real.count(f">{NOT_FOR_CLINIC}</p>") == 2


def test_everything_from_outside_is_escaped():
    evil = '<script>alert("x")</script>&\'{0}%s'
    issues = (Issue("warning", evil, evil),)
    result = factory.result(study=evil, issues=issues, remark=evil)
    model = factory.Model(trained_on=evil, identity=evil)
    model.about = {evil: evil}
    for one in (result, factory.result(study=evil, error=evil)):
        text = Report.of(one, factory.volume(), model, evil).html()
        assert "<script" not in text and evil not in text
        assert "&lt;script&gt;" in text
        assert not Page(text).open


def test_a_study_that_was_not_judged_says_so():
    error = "[missing] The study's images are not in the data folder."
    model = factory.Model()
    one = factory.result(probability=model.prior, levels={}, frames={}, error=error)
    found = Page(Report.of(one, None, model, "").html())
    assert "This study was not judged" in found.text and "training rates" in found.text
    assert not found.all("img") and NOT_FOR_CLINIC in found.text


def test_a_large_scan_stays_under_three_megabytes():
    """Noise is the worst case for PNG; 8 frames, 7 levels, 512 × 512."""
    volume = factory.volume((140, 512, 512), 0.4)
    boxes = factory.levels(140, 512)
    result = factory.result(levels=boxes, frames=factory.frames(boxes))
    assert len(page(result, volume).encode()) < MAX_BYTES


def test_the_same_twice():
    assert page() == page()


# --- from files, by the command ---------------------------------------------------------------


@pytest.fixture(scope="module")
def named_scan(ci_phantom, tmp_path_factory):
    """A scan of a named patient, in a folder with her name, with faults that get told."""
    dataset = open_dataset(ci_phantom)
    folder = tmp_path_factory.mktemp("own") / "Mustermann_Erika_CT"
    shutil.copytree(dataset.study_folder(dataset.test_ids[0]), folder)
    files = sorted(folder.iterdir(), key=lambda p: int(p.stem))
    for path in files[10:12]:
        path.unlink()
    factory.plant(folder)
    shutil.copy(files[5], folder / "Mustermann_copy.dcm")
    (folder / "Mustermann Arztbrief.txt").write_text("Frau Erika Mustermann")
    (folder / "Mustermann_cut.dcm").write_bytes(files[6].read_bytes()[:900])
    return folder


def _outputs(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def _search(content, words):
    low = content.lower()
    return {w for w in words if w.encode() in low or w.encode("utf-16-le") in low}


def test_no_identifying_tag_reaches_any_output(ci_run, named_scan, tmp_path, caplog):
    words = factory.words_planted()
    assert {"mustermann", "erika", "19481109", "mrn-4471193"} <= words
    planted = b"".join(p.read_bytes() for p in named_scan.iterdir()).lower()
    assert {"mustermann", "19481109", "sauerbruch"} <= _search(planted, words), "nothing planted"
    caplog.set_level(logging.DEBUG)
    command = ["predict", str(ci_run), str(named_scan), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    files = _outputs(tmp_path / "out")
    assert {p.suffix for p in files} >= {".html", ".json", ".png", ".csv"}
    for path in files:
        assert not _search(path.read_bytes(), words), path.name
        assert not _search(path.name.encode(), words), path.name
    for said in (done.output, caplog.text):
        assert not _search(said.encode(), words)
    for path in files:
        if path.suffix == ".png":
            assert not _search(repr(Image.open(path).info).encode(), words)


def test_what_was_wrong_with_it_is_told_all_the_same(ci_run, named_scan, tmp_path):
    [result] = predict_folder(ci_run, named_scan, tmp_path, progress=False)
    codes = {issue.code for issue in result.issues}
    assert {"missing_slices", "duplicate_positions", "not_dicom"} <= codes
    text = next(tmp_path.glob("*.html")).read_text(encoding="utf-8")
    assert all(MEANING[code] in text.replace("&#x27;", "'") for code in codes)
    assert PHANTOM_ONLY in text
    assert re.fullmatch(r"scan-[0-9a-f]{8}", result.study)


def test_no_name_in_the_log_of_a_data_folder(ci_run, ci_phantom, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(ci_phantom, data)
    dataset = open_dataset(data)
    folder = dataset.study_folder(dataset.test_ids[0])
    for path in folder.iterdir():
        path.unlink()
    (folder / "Mustermann_Erika.dcm").write_bytes(b"no scan")
    caplog.set_level(logging.DEBUG)
    predict_folder(ci_run, data, tmp_path / "out", overviews=1, progress=False)
    assert "mustermann" not in caplog.text.lower()
    for path in _outputs(tmp_path / "out"):
        assert not _search(path.read_bytes(), {"mustermann", "erika"}), path.name


def test_report_can_be_left_out(ci_run, named_scan, tmp_path):
    command = ["predict", str(ci_run), str(named_scan), "--out", str(tmp_path), "-q"]
    assert CliRunner().invoke(app, [*command, "--no-report"]).exit_code == 0
    assert not list(tmp_path.glob("*.html"))
    assert CliRunner().invoke(app, command).exit_code == 0  # finished, but for the report
    assert len(list(tmp_path.glob("*.html"))) == 1
