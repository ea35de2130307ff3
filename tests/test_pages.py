"""Pages beside the README: links resolve, every page is reached, CITATION.cff, TRIPOD+AI."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from cspine_lib.phantom.build import PHANTOM_VERSION

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "website"))

from pages import groups, links_of, markdown_of  # noqa: E402

PAGES = [
    "README.md",
    *(page for part in groups(ROOT).values() for page in part),
]


def _slug(heading: str) -> str:
    """Anchor that GitHub and the website make of a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return text.replace(" ", "-")


def _anchors(path: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", markdown_of(path), flags=re.S)
    return {_slug(heading) for heading in re.findall(r"^#+ (.+)$", text, flags=re.M)}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_within_the_project_lead_somewhere(page):
    path = ROOT / page
    text = markdown_of(path)
    lost = []
    for link, anchor in links_of(text):
        target = (path.parent / link).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            lost.append(link)
        elif anchor and anchor[1:] not in _anchors(target):
            lost.append(link + anchor)
    here = re.findall(r"\]\(#([^)\s]+)\)", text)
    assert not [*lost, *(set(here) - _anchors(path))]


def test_every_page_is_reached_from_the_readme_or_the_navigation():
    """The navigation holds all pages; the ones named here are linked from another page, too."""
    linked = set()
    for page in PAGES:
        for link, _ in links_of(markdown_of(ROOT / page)):
            linked.add((ROOT / page).parent.joinpath(link).resolve())
    own = ("model_card", "datasheet", "limits", "tripod_ai", "real_ct")
    alone = [name for name in own if ROOT / "docs" / f"{name}.md" not in linked]
    assert not alone
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").glob("*.md")} <= set(PAGES)


def test_slugs_are_those_of_github():
    assert _slug("How it is built") == "how-it-is-built"
    assert _slug("`final`: opened once, per version") == "final-opened-once-per-version"


# --- CITATION.cff -----------------------------------------------------------------------------

_TEXT = {"type": "string", "minLength": 1}
_PERSON = {
    "type": "object",
    "additionalProperties": False,
    "properties": {k: _TEXT for k in ("given-names", "family-names", "affiliation", "orcid")},
}
_ENTITY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": _TEXT, "website": _TEXT},
}
_AUTHORS = {"type": "array", "minItems": 1, "items": {"anyOf": [_PERSON, _ENTITY]}}
_DOI = {"type": "string", "pattern": r"^10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-\.\(\)\[\]\\]+$"}
CFF = {
    "type": "object",
    "additionalProperties": False,
    "required": ["cff-version", "message", "title", "authors"],
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "message": _TEXT,
        "title": _TEXT,
        "type": {"enum": ["software", "dataset"]},
        "version": {"type": ["string", "number"]},
        "license": _TEXT,
        "abstract": _TEXT,
        "doi": _DOI,
        "url": {"type": "string", "pattern": "^(https?|s?ftp)://"},
        "repository-code": {"type": "string", "pattern": "^(https?|s?ftp)://"},
        "date-released": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
        "keywords": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _TEXT},
        "authors": _AUTHORS,
        "references": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["authors", "title", "type"],
                "properties": {
                    "authors": _AUTHORS,
                    "title": _TEXT,
                    "type": {"enum": ["article", "software", "data", "dataset", "book"]},
                    "year": {"type": ["integer", "string"]},
                    "volume": {"type": ["integer", "string"]},
                    "issue": {"type": ["integer", "string"]},
                    "doi": _DOI,
                },
            },
        },
    },
}
"""The keys of the Citation File Format 1.2.0 that are of use here, as strict as its own schema."""


def _faults(content):
    return [e.message for e in jsonschema.Draft7Validator(CFF).iter_errors(content)]


def test_citation_is_a_valid_citation_file():
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert not _faults(content)
    assert content["references"][0]["doi"] in (ROOT / "data" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    "change",
    [
        {"authors": []},
        {"licence": "MIT"},
        {"cff-version": "1.0"},
        {"doi": "https://doi.org/10.1148/ryai.230034"},
        {"references": [{"title": "T", "type": "article"}]},
    ],
)
def test_a_wrong_citation_file_is_found(change):
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert _faults(content | change)


# --- TRIPOD+AI, datasheet ---------------------------------------------------------------------


def test_tripod_has_every_item_and_a_verdict():
    text = (ROOT / "docs" / "tripod_ai.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+)([a-g]?) \| (.+?) \| (.+?) \| (.+) \|$", text, flags=re.M)
    assert {int(number) for number, *_ in rows} == set(range(1, 28))
    assert len({number + letter for number, letter, *_ in rows}) == len(rows) == 52
    for number, letter, _, verdict, where in rows:
        assert verdict in ("met", "partly", "no", "n/a"), number + letter
        assert len(where) > 3
    assert {"no", "partly"} <= {verdict for *_, verdict, _ in rows}, "nothing is fully met"


def test_datasheet_is_of_the_version_that_is_drawn():
    text = (ROOT / "docs" / "datasheet.md").read_text(encoding="utf-8")
    assert f"**version {PHANTOM_VERSION}**" in text
    sizes = re.search(r"\*\*How many\?\*\* (\d+), (\d+) or (\d+), by profile", text)
    from cspine_lib.config import PROFILES

    drawn = [p.phantom.train + p.phantom.test for p in PROFILES.values() if p.phantom]
    assert sorted(map(int, sizes.groups())) == sorted(drawn)
