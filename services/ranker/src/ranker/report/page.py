"""The text of summary.html around its content. It asks for nothing: no script, no font, no other file."""

from __future__ import annotations

from string import Template

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f4f5f7; --card: #ffffff; --ink: #1d2126; --soft: #5b646d; --line: #dde1e5; --guide: #8b939a;
  --accent: #2f5f9c; --tint: #eef3f9; --good: #23714a; --bad: #a8322f; --bad-tint: #fbefee;
  --warn: #8a5a00; --warn-tint: #fff6df; --warn-line: #e6c46a;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1d2125; --ink: #e6e9ec; --soft: #a2abb4; --line: #353b41; --guide: #7c858d;
  --accent: #8ab4ea; --tint: #222a34; --good: #6cc496; --bad: #f0928c; --bad-tint: #33211f;
  --warn: #f0c967; --warn-tint: #2f2816; --warn-line: #6d5a22;
} }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5; font-size: 15px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Apple SD Gothic Neo", "Malgun Gothic",
    "Noto Sans KR", "Noto Sans CJK KR", sans-serif;
}
main { max-width: 1440px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
h2 span, th span.ko, .tile span.ko { color: var(--soft); font-weight: 400; }
h2 span { font-size: 13px; margin-left: 6px; }
p { margin: 0 0 8px; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .92em; }
.lead { color: var(--soft); margin-bottom: 20px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-bottom: 18px; }
.warn { background: var(--warn-tint); border-color: var(--warn-line); border-left-width: 5px; }
.warn h2 { color: var(--warn); margin-bottom: 6px; }
ul { margin: 0; padding-left: 20px; }
li { overflow-wrap: anywhere; }
.tiles, .charts { display: grid; gap: 18px; margin-bottom: 18px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
.tiles section, .charts section { margin: 0; }
.tile { border-top: 4px solid var(--hue); }
.tile .name { font-weight: 600; overflow-wrap: anywhere; }
.tile .big { font-size: 32px; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile .big small { font-size: 14px; font-weight: 400; color: var(--soft); }
.sub { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.charts svg { display: block; width: 100%; height: auto; max-height: 560px; font-family: inherit;
  stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft); }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 3px; background: var(--hue);
  margin-right: 6px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.scroll { overflow-x: auto; margin: 0 -20px; padding: 0 20px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 7px 8px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { font-size: 12.5px; border-bottom: 2px solid var(--line); vertical-align: bottom; }
th span.ko { display: block; font-size: 12px; word-break: keep-all; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 500; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.num small { font-weight: 400; display: block; color: var(--soft); white-space: normal; min-width: 4em; }
.lane { min-width: 170px; overflow-wrap: break-word; }
.group { white-space: nowrap; }
.lane code { font-size: 13px; }
.best { font-weight: 700; }
tr.base { background: var(--tint); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.status { font-size: 12px; font-weight: 600; color: var(--good); white-space: nowrap; }
.status.not-ok { color: var(--bad); }
article { border-left: 3px solid var(--bad); padding: 2px 0 2px 14px; margin-bottom: 16px; }
article:last-child { margin-bottom: 0; }
.reason { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0; }
summary { cursor: pointer; color: var(--accent); font-size: 13px; width: fit-content; }
pre { margin: 8px 0 0; padding: 10px 12px; background: var(--bad-tint); border-radius: 6px; font-size: 12.5px;
  line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
.times td { vertical-align: middle; padding: 4px 10px; border: 0; }
.times th { padding: 4px 10px 4px 0; border: 0; white-space: nowrap; }
.times .track { width: 100%; min-width: 240px; }
.bar { display: flex; height: 18px; border-radius: 3px; overflow: hidden; }
.bar i { background: var(--hue); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.scroll + .legend, details.numbers { margin-top: 10px; }
.badges { display: flex; flex-wrap: wrap; gap: 4px; margin-top: 5px; }
.badge { font-size: 12px; padding: 1px 7px; border-radius: 9px; background: var(--tint);
  white-space: nowrap; }
.badge.good { color: var(--good); }
.badge.bad { color: var(--bad); background: var(--bad-tint); font-weight: 600; }
.badge .ko { color: inherit; opacity: .75; }
.wide { min-width: 860px; } .wide svg { display: block; width: 100%; height: auto; font-family: inherit; }
details + details { margin-top: 12px; } details > .scroll { margin-top: 8px; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 8px 18px;
  margin: 0 0 14px; }
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { margin: 0; font-size: 14px; overflow-wrap: anywhere; }
.formula { padding: 10px 12px; background: var(--tint); border-radius: 6px; display: block;
  margin-bottom: 8px; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { main { padding: 16px 12px; } section { padding: 14px; } }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #f0f0f0;
    --bad-tint: #f5f5f5; --warn-tint: #fff; --accent: #000;
    --good: #1d5f3e; --bad: #8f2522; --warn: #6b4600; color-scheme: light; }
  body { font-size: 10.5px; } main { max-width: none; padding: 0; } table { font-size: 9.5px; }
  section { break-inside: avoid; padding: 10px 12px; } section.long { break-inside: auto; }
  tr, article { break-inside: avoid; } thead { display: table-header-group; }
  .charts { grid-template-columns: 1fr 1fr; } .charts svg { max-height: 110mm; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .scroll { overflow: visible; margin: 0; padding: 0; } th, td { padding: 3px 5px; }
  thead th, th span.ko { font-size: 8.5px; } .lane { min-width: 0; } .lane code { font-size: 9px; }
  .sub, .num small, .legend, .status { font-size: 8.5px; } h2 { font-size: 13px; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p class="lead">$lead</p>
</header>
$content
<footer>Unrounded numbers: <code>summary.csv</code>, <code>ranking.json</code> beside this page.</footer>
</main>
</body>
</html>
""")
