"""A widget that asks the browser whether it can draw with WebGL 2."""

from __future__ import annotations

from typing import Any

SCRIPT = """
function render({ model, el }) {
  let able = false;
  try {
    able = !!document.createElement("canvas").getContext("webgl2");
  } catch (error) {
    able = false;
  }
  model.set("answer", able ? "yes" : "no");
  model.save_changes();
  el.style.display = "none";
}
export default { render };
"""


def probe() -> Any:
    """A widget without a face; its trait ``answer`` becomes "yes" or "no" once it is shown."""
    import anywidget
    import traitlets

    class Probe(anywidget.AnyWidget):
        _esm = SCRIPT
        answer = traitlets.Unicode("").tag(sync=True)

    return Probe()
