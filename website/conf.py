"""Sphinx's settings for the website; ``make site`` builds it from committed outputs.

Nothing is executed, and no page asks another host for anything: MathJax is served along.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "website")]
_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Cervical spine fractures in CT"
author = "The cspine-course authors"
copyright = author
release = re.search(  # without an import of the library
    r'__version__ = "(.+?)"', (ROOT / "cspine_lib" / "__init__.py").read_text(encoding="utf-8")
)[1]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "signatures",
]

# --- notebooks and Markdown ---
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # committed outputs hold stills, no widgets: nothing to load
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
mathjax_path = "mathjax/tex-chtml.js"

# --- reference ---
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
add_module_names = False
# Names of fields, such as shape_zyx, that several classes have: Sphinx would make links of them.
suppress_warnings = ["ref.python"]

# --- pages ---
html_theme = "sphinx_book_theme"
html_title = "Cervical spine fractures in CT"
html_static_path = [str(ROOT / "website" / "static")]
html_css_files = ["style.css"]
html_favicon = str(ROOT / "website" / "static" / "favicon.svg")
html_context = {"default_mode": "auto"}
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "extra_footer": "Research and teaching only. Not for clinical use.",
}
_repository = _PYPROJECT.get("urls", {}).get("Repository", "")
if _repository:
    html_theme_options |= {"repository_url": _repository, "use_repository_button": True}
