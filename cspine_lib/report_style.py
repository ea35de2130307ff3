"""The style sheet of a report: readable at any width, on paper, and without a network."""

CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content Security Policy: a browser that opens the page asks no other place for anything."""

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a1a1a; line-height: 1.5;
  font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 16px; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1.2rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 2px solid #1a1a1a; }
h3 { font-size: 1rem; margin: 1rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.caution { border: 2px solid #5c4400; background: #fff6dc; color: #3d2e00; padding: .6rem .9rem;
  margin: .6rem 0; font-weight: 600; max-width: none; }
.phantom { border: 3px solid #8b0000; background: #fdecec; color: #6d0000; font-size: 1.1rem; }
.sum { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
caption { text-align: left; color: #444; padding: .2rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ccc;
  vertical-align: top; overflow-wrap: anywhere; }
thead th { border-bottom: 2px solid #1a1a1a; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { text-align: right; }
tr.all th, tr.all td { font-weight: 700; border-bottom: 2px solid #777; }
td.wide { width: 50%; }
.bar { position: relative; height: 1.1rem; margin-top: .2rem; background: #e9e9e9; }
.bar b { position: absolute; top: 0; left: 0; bottom: 0; background: #0a5a94; }
.bar i { position: absolute; top: -.2rem; bottom: -.2rem; width: 3px; margin-left: -1px;
  background: #000; }
.key { display: inline-block; width: .8rem; height: .8rem; border: 1px solid #333;
  margin-right: .4rem; }
figure { margin: .5rem 0; }
img { max-width: 100%; height: auto; display: block; }
figcaption { color: #333; font-size: .9rem; }
.levels { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
  gap: .4rem 1.6rem; }
.row { display: flex; gap: .5rem; }
.row figure { flex: 1 1 0; min-width: 0; max-width: 220px; margin: 0; }
.row img { width: 100%; }
.row figcaption { font-size: .8rem; line-height: 1.3; }
.none { color: #444; font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .5rem 0; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
footer { border-top: 2px solid #1a1a1a; margin-top: 2rem; padding-top: .6rem;
  padding-bottom: 2rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; }
  th, td { padding: .3rem .3rem; } td.wide { width: 34%; } }
@media print {
  @page { size: A4; margin: 14mm 14mm 20mm; }
  body { font-size: 10.5pt; }
  header, main, footer { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  tr, figure, .level, dl, .caution { break-inside: avoid; }
  .caution, .bar, .bar b, .bar i, .key { print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
  .levels { grid-template-columns: 1fr 1fr; }
  .view { break-inside: avoid; }
  .sagittal img { max-height: 110mm; width: auto; }
}
"""

PAPER_CSS = """
@media print {{ @page {{ @bottom-center {{ content: "{words}"; font: 600 8.5pt sans-serif;
  color: #6d0000; }} }} }}
"""
"""At the foot of every printed page (CSS Paged Media; other browsers print without it)."""
