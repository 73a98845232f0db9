"""How the page looks, and what it does when nobody answers any more: its template and style sheets, nothing from the network."""

COLOURS = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1b1f24; --faint: #66707c; --edge: #dfe3e8;
  --good: #1a7f4b; --busy: #2f7de1; --wait: #9a6700; --bad: #c4302b; --good-bg: #e6f5ec; --busy-bg: #e5effc; --wait-bg: #fdf3d9;
  --bad-bg: #fdeaea; --read: #7a8ea8; --render: #2f7de1; --check: #35a79c; --write: #d98f2b; --flip: none; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --card: #1c2027; --ink: #e6e9ee; --faint: #98a2b0;
  --edge: #323944; --good: #5fce94; --busy: #7db1f7; --wait: #e3b341; --bad: #ff8f87; --good-bg: #17301f; --busy-bg: #172a45;
  --wait-bg: #35290c; --bad-bg: #40191a; --flip: invert(1); } }
"""

PARTS = """
:host { color: var(--ink); font: 14px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
:host, .bk-clearfix { display: block; width: 100%; }
h1, h2, p, ul, figure, pre { margin: 0; padding: 0; }
h1 { font-size: 24px; line-height: 1.2; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 14px; font-weight: 600; margin-bottom: 8px; }
h2 .faint { font-weight: 400; margin-left: 6px; }
a { color: var(--busy); }
.faint { color: var(--faint); }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 14px; }
.state { margin-left: auto; padding: 5px 14px; border-radius: 999px; font-weight: 600; }
.state::before { content: "●"; margin-right: 7px; }
.good { color: var(--good); } .busy { color: var(--busy); } .wait { color: var(--wait); } .bad { color: var(--bad); }
.state.good { background: var(--good-bg); } .state.busy { background: var(--busy-bg); }
.state.wait { background: var(--wait-bg); } .state.bad { background: var(--bad-bg); }
nav { margin-top: 6px; font-size: 13px; color: var(--faint); }
.far { display: flex; align-items: center; gap: 20px; }
.share { font-size: 46px; line-height: 1; font-weight: 680; letter-spacing: -0.02em; min-width: 2.9em; }
.share, .tile, td, .counts { font-variant-numeric: tabular-nums; }
.grow { flex: 1; min-width: 0; }
.bar { display: flex; height: 22px; border-radius: 7px; overflow: hidden; background: var(--edge); }
.bar i { display: block; min-width: 2px; }
i.done { background: var(--good); } i.skipped { background: var(--wait); } i.failed { background: var(--bad); }
.counts { margin-top: 7px; font-size: 15px; }
b.skipped { color: var(--wait); } b.failed { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 10px 18px; margin-top: 16px; }
.tile { display: flex; flex-direction: column; border-left: 3px solid var(--edge); padding-left: 11px; }
.tile.bad { border-color: var(--bad); color: var(--bad); }
.tile .name, .tile .more { font-size: 12.5px; color: var(--faint); min-height: 1.4em; }
.tile.bad .more { color: var(--bad); font-weight: 600; }
.tile .value { font-size: 21px; font-weight: 620; line-height: 1.25; }
.wrong { border-radius: 10px; padding: 10px 16px; border: 1px solid currentColor; }
.wrong h2 { margin: 0; font-size: 15px; }
.wrong.good { background: var(--good-bg); } .wrong.wait { background: var(--wait-bg); } .wrong.bad { background: var(--bad-bg); }
.wrong ul { list-style: none; margin-top: 6px; color: var(--ink); }
.wrong li { display: flex; gap: 12px; padding: 2px 0; }
.wrong li.grave { font-weight: 600; }
.wrong time { color: var(--faint); font-weight: 400; margin-left: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wrong pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 9em; overflow-y: auto; }
.stage, .dot { background: var(--faint); }
.read { background: var(--read); } .render { background: var(--render); }
.check { background: var(--check); } .write { background: var(--write); }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; margin-top: 7px; font-size: 13px; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px; }
.pictures img { display: block; width: 100%; height: 108px; object-fit: contain; background: #fff; border-radius: 6px;
  outline: 1px solid #d8dde3; filter: var(--flip); image-rendering: auto; }
figcaption { font-size: 12px; color: var(--faint); text-align: center; margin-top: 3px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; white-space: nowrap; }
th { text-align: left; font-weight: 500; color: var(--faint); }
th, td { padding: 5px 16px 5px 0; border-bottom: 1px solid var(--edge); }
.meter { display: inline-block; width: 52px; height: 8px; border-radius: 4px; background: var(--edge); margin-right: 8px;
  overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--busy); }
.meter i.wait { background: var(--wait); } .meter i.bad { background: var(--bad); }
footer { font-size: 12.5px; color: var(--faint); overflow-wrap: anywhere; }
@media (max-width: 720px) { .far { display: block; } .share { margin-bottom: 10px; } .state { margin-left: 0; }
  .tiles { grid-template-columns: repeat(2, 1fr); } }
"""

_PAGE = """
html, body { background: var(--paper); margin: 0; height: auto; }
main { max-width: 1240px; margin: 0 auto; padding: 16px 20px 24px; display: grid; gap: 12px;
  grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); }
main > div { min-width: 0; }
.card, .stack > div { overflow: hidden; }
.wide { grid-column: 1 / -1; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 14px 18px; }
.stack { display: grid; gap: 12px; align-content: start; }
#lost { font: 600 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--bad); background: var(--bad-bg);
  border: 1px solid currentColor; border-radius: 10px; padding: 10px 16px; overflow-wrap: anywhere; }
#lost.over { color: var(--ink); background: var(--busy-bg); }
#lost[hidden] { display: none; }
@media (max-width: 720px) { main { grid-template-columns: minmax(0, 1fr); padding: 10px; } }
"""

_WATCH = """
const MISSES = 2, EVERY = 3000, BEHIND = 20;
const lost = document.getElementById("lost");
let misses = 0;
function beat() {
  try { return Bokeh.documents[0].get_model_by_name("beat").tags; } catch (error) { return [0, false, "", ""]; }
}
async function look() {
  const [at, over, words, folder] = beat();
  try {
    const answer = await fetch("cryovox/progress.json" + location.search, {cache: "no-store", signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error(answer.status);
    const now = (await answer.json()).now;
    const behind = at > 0 && now - at > BEHIND && document.visibilityState === "visible";
    if (misses >= MISSES || behind) location.reload();
    misses = 0;
  } catch (error) {
    misses += 1;
    if (misses !== MISSES) return;
    lost.className = over ? "wide over" : "wide";
    lost.textContent = (over ? "The run is over and its scheduler has gone: " + words :
      "Nobody answers since " + new Date().toLocaleTimeString() + ". What you see is how it stood then: " + words) +
      (folder ? ". Log and report: " + folder : "");
    lost.hidden = false;
  }
}
look();
setInterval(look, EVERY);
"""

TEMPLATE = f"""
{{% block preamble %}}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
{{% endblock %}}
{{% block postamble %}}<style>{COLOURS}{_PAGE}</style>{{% endblock %}}
{{% block contents %}}
{{% from macros import embed %}}
<main>
<div id="lost" class="wide" role="alert" hidden></div>
<div class="wide">{{{{ embed(roots.head) }}}}</div>
<div class="wide card">{{{{ embed(roots.progress) }}}}</div>
<div class="wide">{{{{ embed(roots.wrong) }}}}</div>
<div class="stack">
<div class="card">{{{{ embed(roots.pace) }}}}{{{{ embed(roots.speed) }}}}</div>
<div class="card">{{{{ embed(roots.stages) }}}}</div>
</div>
<div class="card">{{{{ embed(roots.pictures) }}}}</div>
<div class="wide card">{{{{ embed(roots.workers) }}}}</div>
<div class="wide">{{{{ embed(roots.foot) }}}}</div>
{{{{ embed(roots.beat) }}}}
</main>
<script>{_WATCH}</script>
{{% endblock %}}
"""
"""Jinja, around Bokeh's own page. The script looks at the JSON: it says when nobody answers any more, and loads the page anew
when someone does again or when the connection that Bokeh keeps has fallen behind (a laptop that slept, a tunnel that broke)."""
