"""How the report looks: one style sheet, light or dark as the reader's system is, and always light on paper."""

STYLE = """\
:root { --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --paper: #ffffff; --card: #f6f8fa; --accent: #2166ac;
  --good: #1a7f37; --warn: #9a6700; --bad: #b2182b; --p0: #9ecae1; --p1: #2166ac; --p2: #f4a582; --p3: #8c96a0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e6ea; --soft: #9aa4ae; --line: #363d45; --paper: #15181c; --card: #1e2329;
  --accent: #6cb0ea; --good: #4ac26b; --warn: #d4a72c; --bad: #ff8182; --p0: #3b6480; --p1: #6cb0ea; --p2: #d98864;
  --p3: #6b747d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 36px 32px 56px; }
header { border-bottom: 1px solid var(--line); padding-bottom: 18px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 14px 0 0; display: inline-block; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-top: 4px; }
h3 { font-size: 14px; margin: 20px 0 6px; }
p { margin: 8px 0; max-width: 86ch; }
.kind { color: var(--soft); margin: 0 0 4px; font-size: 13px; }
.mark { display: inline-block; border-radius: 99px; padding: 2px 12px; font-size: 13px; font-weight: 600; border: 1.5px solid;
  vertical-align: 5px; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.lead { font-size: 17px; }
.note, figcaption, .more { color: var(--soft); font-size: 13px; max-width: 120ch; }
nav { margin-top: 10px; font-size: 13px; } nav a { color: var(--accent); text-decoration: none; margin-right: 14px; }
.mono { overflow-wrap: anywhere; }
code, pre, .mono { font: 12.5px/1.5 ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; margin: 8px 0;
  overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); font-weight: 400;
  font-variant-numeric: tabular-nums; }
thead th { color: var(--soft); font-size: 12.5px; white-space: nowrap; }
.plain th { color: var(--soft); white-space: nowrap; }
.numbers td { text-align: right; } .numbers thead th:not(:first-child) { text-align: right; }
.runs { font-size: 13px; } .runs td, .runs th { padding-right: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 12px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 20px; font-weight: 600; line-height: 1.3; }
.card span { color: var(--soft); font-size: 12.5px; }
.gallery { display: grid; gap: 6px; margin: 10px 0 4px; }
.gallery .head { grid-column: 1 / -1; display: flex; justify-content: space-between; align-items: end; margin-top: 10px;
  font-size: 13.5px; }
.gallery .label { text-align: center; font-size: 13px; color: var(--soft); }
.picture { position: relative; background: #fff; border: 1px solid var(--line); line-height: 0; }
.picture img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
.bar { position: absolute; left: 6%; bottom: 6%; border-bottom: 3px solid #1b1f24; line-height: 1.3; text-align: center;
  color: #1b1f24; font-size: 11px; white-space: nowrap; }
.scale { display: inline-block; width: 110px; height: 10px; border: 1px solid var(--line); margin: 0 6px; vertical-align: -1px; }
.scale img { display: block; width: 100%; height: 100%; }
.traces { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 18px 24px; }
figure { margin: 0; } figure h3 { margin: 8px 0 0; } figcaption { margin: 0 0 2px; }
svg { display: block; width: 100%; overflow: visible; }
svg.shares { overflow: hidden; height: 24px; border-radius: 4px; margin: 10px 0; }
.trace .line { fill: var(--accent); stroke: var(--accent); stroke-width: 1.4; stroke-linejoin: round; stroke-linecap: round; }
.trace path.line:not([d$="Z"]) { fill: none; }
.trace .grid { stroke: var(--line); } .trace .axis { fill: var(--soft); font-size: 11px; }
.trace .circle { fill: none; stroke: var(--bad); stroke-width: 1.6; } .trace .missing { stroke: var(--bad); stroke-width: 1.2; }
.part0 { fill: var(--p0); } .part1 { fill: var(--p1); } .part2 { fill: var(--p2); } .part3 { fill: var(--p3); }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 8px; }
.key0 { background: var(--p0); } .key1 { background: var(--p1); }
.key2 { background: var(--p2); } .key3 { background: var(--p3); }
ul { margin: 6px 0; padding-left: 20px; } li { overflow-wrap: anywhere; white-space: pre-line; font-size: 14px; }
footer { margin-top: 44px; border-top: 1px solid var(--line); padding-top: 10px; }
@media print {
  :root { --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --paper: #ffffff; --card: #f6f8fa; --accent: #2166ac; --good: #1a7f37;
    --warn: #9a6700; --bad: #b2182b; --p0: #9ecae1; --p1: #2166ac; --p2: #f4a582; --p3: #8c96a0; color-scheme: light; }
  @page { margin: 15mm 13mm; }
  body { font-size: 10pt; } .lead { font-size: 11.5pt; } .cards { grid-template-columns: repeat(6, 1fr); gap: 6px; }
  .card { padding: 6px 8px; } .card b { font-size: 12pt; } main { max-width: none; padding: 0; } nav { display: none; }
  h2 { margin-top: 22px; break-after: avoid; } h3, .gallery .head, figcaption { break-after: avoid; }
  .card, .picture, figure, tr { break-inside: avoid; } .scroll { overflow: visible; }
  .mark, .scale, svg, .key, .card, pre { print-color-adjust: exact; }
}
"""
