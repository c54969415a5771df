"""The style sheet of the page: light and dark screens, narrow ones, and paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  --paper: #ffffff; --card: #f6f7f9; --ink: #1b2430; --muted: #677285; --grid: #e4e8ee;
  --accent: #c2410c; --bad: #b42318; --good: #1a7f4b;
  --s0: #2f6db3; --s1: #b8860b; --s2: #2e8b57; --s3: #b5476b;
  --s4: #3a9ab3; --s5: #7a4fb0; --s6: #8a6d4b; --s7: #5f6b7a;
  --s8: #1f5f5b; --s9: #93a32a; --s10: #8c2f39; --s11: #c58bd6;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --card: #1a2029; --ink: #e6eaf0; --muted: #97a3b4; --grid: #2a323d;
    --accent: #fb923c; --bad: #f97066; --good: #4ccb8a;
    --s0: #6aa5e8; --s1: #d9a92e; --s2: #55b883; --s3: #dd7a9b;
    --s4: #62bfd6; --s5: #a98be0; --s6: #bd9d77; --s7: #8b98a9;
    --s8: #4fa39d; --s9: #c3d45a; --s10: #c9606b; --s11: #e0b8ee;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 Inter, "Segoe UI", system-ui, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 2.2rem 1.4rem 4rem; }
h1 { font-size: 2.1rem; line-height: 1.15; margin: 0; letter-spacing: -.02em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.8rem 0 .3rem; }
p { margin: .5rem 0; max-width: 76ch; }
a { color: var(--s0); }
.sub, figcaption, .note { color: var(--muted); font-size: .88rem; }
.lead { font-size: 1.12rem; }
.pill {
  display: inline-block; padding: .05rem .6rem; border-radius: 1rem; font-size: .8rem;
  border: 1px solid currentColor; white-space: nowrap;
}
.good { color: var(--good); } .bad { color: var(--bad); } .muted { color: var(--muted); }
.clock {
  margin: 1.2rem 0; padding: .7rem 1rem; border-left: 4px solid var(--accent);
  background: var(--card); border-radius: 0 .4rem .4rem 0;
}
.verdict { margin: 1.4rem 0; padding: 1.1rem 1.3rem; background: var(--card); border-radius: .6rem; }
.verdict .value { font-size: 1.9rem; font-weight: 650; letter-spacing: -.01em; }
.verdict .at { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .5rem 0 .2rem; padding: 0; }
.at li { list-style: none; } .at b { font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .7rem; }
.facts div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.facts b { display: block; font-size: 1.25rem; font-weight: 620; }
.facts span { color: var(--muted); font-size: .82rem; }
figure { margin: 1rem 0; } figcaption { margin-top: .2rem; max-width: 90ch; }
figure svg, .pair svg { width: 100%; height: auto; display: block; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.pair > figure { flex: 2 1 420px; min-width: 0; } .pair > figure + figure { flex: 1 1 260px; }
.spark { width: 96px; height: 22px; } .spark polyline { fill: none; stroke: var(--s0); stroke-width: 1.1; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .83rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .28rem .45rem; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.best td { background: color-mix(in srgb, var(--accent) 12%, transparent); font-weight: 600; }
tr.off td { color: var(--muted); }
td .why { white-space: nowrap; } td small { color: var(--muted); display: block; font-weight: 400; font-size: .78em; line-height: 1.35; min-width: 17ch; max-width: 30ch; white-space: normal; }
.meter { display: block; min-width: 90px; height: .6rem; margin-top: .45rem; background: var(--grid); border-radius: .3rem; }
.meter i { display: block; height: 100%; background: var(--s0); border-radius: .3rem; }
pre, code { font: .84rem/1.45 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
pre { background: var(--card); padding: .8rem 1rem; border-radius: .5rem; overflow-x: auto; }
code { overflow-wrap: anywhere; } summary { cursor: pointer; color: var(--muted); margin: .6rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .9rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
@media print {
  body { font-size: 10pt; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; margin-top: 1.5rem; } figure, tr, .verdict, .facts div { break-inside: avoid; }
  .pair { display: block; break-inside: avoid; } .wide { overflow: visible; } pre { white-space: pre-wrap; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; }
  * { print-color-adjust: exact; }
}
"""
