"""The page's style sheet: light, for a pane of about 900 px, and fit to be printed."""

from typing import Final

CSS: Final = """
:root { color-scheme: light; --ink: #1f2933; --muted: #5b6673; --line: #e3e8ed; --blue: #0072B2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 932px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 22px; line-height: 1.25; margin: 0 0 12px; overflow-wrap: anywhere; }
section { margin-top: 28px; padding-top: 14px; border-top: 1px solid var(--line); }
h2 { font-size: 16px; margin: 0 0 8px; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 4px 24px; margin: 0; }
dl div { display: flex; gap: 8px; min-width: 0; }
dt { color: var(--muted); flex: 0 0 76px; }
dd { margin: 0; overflow-wrap: anywhere; }
aside { margin: 16px 0 0; padding: 10px 14px; background: #fff7e6; border-left: 4px solid #E69F00; border-radius: 3px; }
aside ul { margin: 4px 0 0; padding-left: 20px; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(124px, 1fr)); gap: 10px; margin-top: 18px; }
.cards div { display: flex; flex-direction: column; border: 1px solid var(--line); border-radius: 6px;
  padding: 8px 12px; }
.cards span { flex: 1; }
.cards span, .cards small { display: block; color: var(--muted); font-size: 12px; min-height: 18px; }
.cards b { font-size: 21px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.hint { color: var(--muted); margin: 0 0 8px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th { text-align: left; vertical-align: bottom; color: var(--muted); font-weight: 600; }
th { border-bottom: 2px solid var(--line); }
th, td { padding: 4px 8px 4px 6px; }
td { border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n, td.name { white-space: nowrap; }
td.long { min-width: 8em; max-width: 320px; overflow-wrap: anywhere; }
td.hint { margin: 0; }
tr.marked td { background: #e8f1f8; font-weight: 600; }
table.bands { width: auto; }
details { margin-top: 12px; }
summary { cursor: pointer; color: var(--blue); }
img { display: block; max-width: 100%; height: auto; }
@media print { main { max-width: none; } section { break-inside: avoid-page; } }
"""
