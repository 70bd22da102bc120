/** The style of every report: one column of text, rules instead of boxes, colours for light, dark and paper. */

export const STYLE: string = `
:root {
  --ground: #fff; --panel: #f6f7f8; --ink: #1b1e22; --muted: #5a616b; --rule: #dfe2e6;
  --c1: #1f6fb2; --c2: #c2491d; --c3: #23804f; --c4: #8046ad; --c5: #8a6a00; --c6: #ad3367;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14161a; --panel: #1c1f24; --ink: #e4e6ea; --muted: #9ba2ad; --rule: #30353c;
    --c1: #6cb2f0; --c2: #f29166; --c3: #62c793; --c4: #c598ec; --c5: #d9b84a; --c6: #f082ad;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 960px; margin: 0 auto; padding: 48px 24px 72px; overflow-wrap: break-word; }
h1, h2, h3, h4 { line-height: 1.25; margin: 0; font-weight: 650; text-wrap: balance; }
h1 { font-size: 2rem; letter-spacing: -0.015em; }
h2 { font-size: 1.3rem; margin: 0 0 12px; }
h3 { font-size: 1rem; margin: 24px 0 8px; }
h4 { font-size: .8125rem; color: var(--muted); margin: 0 0 6px; }
p { margin: 0 0 12px; max-width: 44em; }
.kind { color: var(--muted); font-size: .875rem; margin: 0 0 6px; }
.lede { font-size: 1.125rem; margin: 14px 0 24px; }
.note, .remark { color: var(--muted); font-size: .875rem; font-weight: 400; }
.warning { border-left: 3px solid var(--c2); padding-left: 12px; }
section { border-top: 1px solid var(--rule); margin-top: 40px; padding-top: 24px; }

.figures { display: flex; flex-wrap: wrap; gap: 20px 32px; margin: 24px 0; }
.figures > div { max-width: 12em; }
.figures dt { color: var(--muted); font-size: .8125rem; }
.figures dd { margin: 0; font-size: 1.375rem; line-height: 1.3; white-space: nowrap; font-variant-numeric: tabular-nums; }
.figures dd.remark { font-size: .8125rem; line-height: 1.4; white-space: normal; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; margin: 0 0 20px; }
caption { text-align: left; color: var(--muted); font-size: .875rem; padding: 0 0 6px; }
th, td { padding: 7px 24px 7px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-size: .8125rem; font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 500; }
.compact { width: auto; min-width: 50%; }
section > :last-child, :is(header, section) > :last-child > table { margin-bottom: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.about { display: block; color: var(--muted); font-size: .8125rem; font-weight: 400; }
.facts th { width: 14em; font-weight: 400; color: var(--muted); }
.facts td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.bar { display: block; width: 100%; min-width: 120px; height: 12px; margin-top: 6px; }
.bar rect { fill: var(--c1); }

figure { margin: 0 0 28px; min-width: 0; }
figcaption { margin: 0 0 4px; }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 28px 32px; }
.halves figure { margin: 0; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 0 0 6px; padding: 0; font-size: .8125rem; color: var(--muted); }
.legend svg { margin-right: 7px; vertical-align: -1px; overflow: visible; }
.chart { display: block; width: 100%; height: auto; font-size: 13px; overflow: visible; }
.chart.narrow, .chart.only { max-width: 520px; }
.chart.narrow { display: none; }
.chart text { fill: var(--muted); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--muted); stroke-width: 1; }
.line, .faint, .marks { fill: none; stroke: var(--colour); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.faint { stroke-width: 1; opacity: .4; }
.marks { stroke-width: 1.5; }
.mark { fill: var(--colour); stroke: var(--ground); stroke-width: 1.5; }
.c1 { --colour: var(--c1); } .c2 { --colour: var(--c2); } .c3 { --colour: var(--c3); }
.c4 { --colour: var(--c4); } .c5 { --colour: var(--c5); } .c6 { --colour: var(--c6); }

.sample { white-space: pre-wrap; overflow-wrap: anywhere; max-width: none; margin: 0; }
.prompt { color: var(--muted); }
.prompted { border-left: 3px solid var(--rule); padding-left: 14px; margin: 24px 0 14px; white-space: pre-wrap; overflow-wrap: anywhere; font-weight: 500; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 200px), 1fr)); gap: 20px 24px; margin: 0 0 28px; }
.columns > div { min-width: 0; border-top: 2px solid var(--rule); padding-top: 8px; font-size: .9375rem; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; font-size: .875rem; }
pre { background: var(--panel); padding: 12px 14px; margin: 0 0 12px; border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
p code { white-space: nowrap; }
pre span { display: inline-block; max-width: 100%; }

@media screen and (max-width: 720px) {
  .roomy { display: none; }
  main { padding: 28px 16px 48px; }
  h1 { font-size: 1.625rem; }
  .lede { font-size: 1.0625rem; }
  .figures { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
  .figures dd { font-size: 1.125rem; }
  .chart.wide { display: none; }
  .chart.narrow { display: block; }
  th, td { padding-right: 12px; }
  .facts th { width: 38%; }
}
@media print {
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  .halves { grid-template-columns: 1fr 1fr; }
  figure, tr, .figures > div, .columns > div { break-inside: avoid; }
  h2, h3, figcaption, caption { break-after: avoid; }
  .scroll { overflow: visible; }
  pre { border: 1px solid var(--rule); }
}
.pictures { width: auto; }
.pictures td, .pictures th { border: 0; padding: 3px 6px 3px 0; }
.pictures th[scope="row"] { max-width: 12em; font-weight: 400; }
.picture img { display: block; width: 96px; min-height: 24px; image-rendering: pixelated; border-radius: 3px; }
`;
