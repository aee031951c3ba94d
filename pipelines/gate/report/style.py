"""The style sheet of report.html: screens from telephone to desktop, and paper."""

CSS = """
:root { color-scheme: only light;
  --ink: #0f172a; --soft: #475569; --line: #e2e8f0; --pass: #15803d; --fail: #b91c1c; --open: #b45309; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 2.1rem; letter-spacing: .01em; }
h2 { margin: 2.6rem 0 .8rem; font-size: 1.15rem; }
h3 { margin: 1.6rem 0 .3rem; font-size: .95rem; }
p { margin: .3rem 0 .6rem; max-width: 46rem; }
.verdict { border-left: 6px solid var(--tone); padding: 1rem 1.4rem 1.1rem; border-radius: 0 10px 10px 0;
  background: color-mix(in srgb, var(--tone) 7%, white); }
.verdict h1 { color: var(--tone); }
.verdict p { font-size: 1.08rem; } .verdict ul { margin: .3rem 0; padding-left: 1.2rem; }
.PROMOTE, .pass { --tone: var(--pass); } .REJECT, .fail { --tone: var(--fail); }
.HOLD, .inconclusive { --tone: var(--open); } .not_applicable { --tone: #64748b; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: 1.1rem 0 0; }
.facts div { min-width: 6rem; }
.facts dt { color: var(--soft); font-size: .8rem; } .facts dd { margin: 0; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: .8rem; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
td svg { display: block; }
tr.group th { padding-top: 1.1rem; color: var(--ink); }
td.n, th.n { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--soft); }
.dense td { padding-block: .2rem; } .dense small { display: inline; margin-left: .6rem; }
tr.small td { color: var(--soft); }
.rules td, .rules th { border: 0; } .rules tbody, .rules thead { border-bottom: 1px solid var(--line); }
.rules tr:has(+ .why) td { padding-bottom: 0; }
.rules .why td { padding-top: .2rem; color: var(--soft); font-size: .9rem; }
.metrics td:first-child { min-width: 11rem; overflow-wrap: anywhere; } .metrics td { padding-block: .3rem; }
.badge { display: inline-block; padding: .08rem .6rem; border-radius: 99px; color: #fff; background: var(--tone);
  font-size: .8rem; font-weight: 600; white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1.6rem 2.2rem; }
figure { margin: 0; break-inside: avoid; } figure svg { width: 100%; height: auto; }
figure text { paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
figure small { display: block; color: var(--soft); } figcaption small { font-weight: 400; }
code { font: .84rem ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: .9rem; }
.users { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.4rem; }
.user { border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1.1rem 1rem; break-inside: avoid; }
.user h3 { margin: 0 0 .6rem; font-size: .95rem; } .user h3 small { font-weight: 400; color: var(--soft); }
.lists { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 1.6rem; }
.lists h4 { margin: 0 0 .2rem; font-size: .8rem; color: var(--soft); }
.lists ol, .lists ul { margin: 0; font-size: .86rem; line-height: 1.5; }
.lists ol { list-style-position: inside; padding-left: 0; } .lists ul { list-style: none; padding-left: 0; }
.lists li { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tail { color: #0f766e; } .tail::before { content: "◆\\00a0"; font-size: .7em; vertical-align: .12em; }
.hit { font-weight: 650; } .hit::before { content: "✓\\00a0"; }
.tail.hit::before { content: "◆ ✓\\00a0"; font-size: .85em; }
.changes dt { font-weight: 600; break-after: avoid; } .changes dd { margin: 0 0 .5rem; color: var(--soft); }
@media screen and (max-width: 44rem) {
  body { padding: 1.2rem 1rem 3rem; }
  .lists { grid-template-columns: minmax(0, 1fr); } .lists div + div { margin-top: .7rem; }
  .wide :is(th, td):first-child { position: sticky; left: 0; background: #fff; }
  .dense td:first-child { min-width: 7.5rem; } .metrics td:first-child { min-width: 9rem; }
  .rules, .rules tbody, .rules tr, .rules td { display: block; }
  .rules thead { display: none; } .rules tbody { padding: .7rem 0; }
  .rules tr:first-child { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem 1rem; }
  .rules td, .rules td.n { padding: 0; text-align: left; } .rules td:nth-child(2) { justify-self: end; }
  .rules .bar { grid-column: 1 / -1; order: 1; } .rules [data-is]::before { content: attr(data-is); color: var(--soft);
    display: block; font-size: .8rem; } }
@media print {
  :root { font-size: 12px; } body { padding: 0; max-width: none; font-size: 11px; } p { max-width: none; }
  h2, h3, h2 + p, p:has(+ h3) { break-after: avoid; } tr, .rules tbody { break-inside: avoid; }
  th, td { padding-right: .6rem; } .lists li { white-space: normal; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
