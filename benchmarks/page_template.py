"""The looks of an HTML page: its style sheet and the Jinja template that ``page`` fills."""

from __future__ import annotations

from typing import Final

__all__ = ["STYLE", "TEMPLATE"]

# One rule set for light and dark: only the colours named at the top differ.
STYLE: Final = """
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1c2024; --soft: #5f6872; --line: #d8dde3; --tint: #f4f6f8;
  --link: #0b5cad; --good: 9, 105, 218; --bad: 207, 34, 46; --bad-ink: #b3141f;
  --pass: #1a7f37; --fail: #b3141f; --open: #8a5a00;
  --series-0: #0b5cad; --series-1: #c24a00; --series-2: #1a7f37; --series-3: #8250c4;
  --series-4: #b3146b; --series-5: #5f6872; --series-6: #7a6000; --series-7: #00708a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --ink: #e4e8ec; --soft: #9aa4ae; --line: #343b43; --tint: #1d2226;
  --link: #6cb2ff; --good: 56, 139, 253; --bad: 248, 81, 73; --bad-ink: #ff8f88;
  --pass: #56d364; --fail: #ff8f88; --open: #e3b341;
  --series-0: #6cb2ff; --series-1: #ffa657; --series-2: #56d364; --series-3: #c9a2ff;
  --series-4: #ff8ac4; --series-5: #b1bac4; --series-6: #e3b341; --series-7: #5ad4e6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1240px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .3rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; padding-top: .6rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 75ch; white-space: pre-line; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ol { columns: 19rem; column-gap: 2rem; padding-left: 1.6rem; margin: .8rem 0; }
nav li { break-inside: avoid; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; color: var(--soft); padding: .2rem 0; }
th, td { border: 1px solid var(--line); padding: .2rem .55rem; text-align: left;
  vertical-align: top; white-space: nowrap; }
th { background: var(--tint); font-weight: 600; }
.wide th { white-space: normal; vertical-align: bottom; min-width: 5rem; }
.wide td span { display: inline-block; width: max-content; max-width: 17rem; white-space: normal;
  overflow-wrap: anywhere; }
.wide td:first-child, .wide th:first-child { position: sticky; left: 0; }
.wide td:first-child { background: var(--paper); }
.wide td:first-child span { max-width: min(15rem, 32vw); }
.matrix { font-size: .75rem; }
.matrix th, .matrix td { padding: .1rem .2rem; min-width: 1.75rem; text-align: center; }
.matrix tbody th { position: sticky; left: 0; }
.good { background: rgba(var(--good), calc(.5 * var(--shade))); }
.bad { background: rgba(var(--bad), calc(.7 * var(--shade))); font-weight: 700; }
figure { margin: .6rem 0; }
figure.picture { display: inline-block; vertical-align: top; margin-right: 1rem;
  max-width: min(100%, 36rem); }
figure.picture img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figure.chart { margin: .6rem 0; max-width: 31rem; }
figure.chart svg { display: block; width: 100%; height: auto; overflow: visible;
  font-family: inherit; stroke-linejoin: round; }
.charts { display: grid; gap: 1rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 23rem), 1fr)); }
.banner { border: 1px solid var(--line); border-left: .5rem solid var(--soft); border-radius: 6px;
  padding: .6rem 1rem; margin: .8rem 0; background: var(--tint); }
.banner strong { font-size: 1.2rem; }
.banner ul { margin: .4rem 0 0; padding-left: 1.2rem; }
.banner li { overflow-wrap: anywhere; margin: .2rem 0; }
.banner.pass { border-left-color: var(--pass); } .banner.pass strong { color: var(--pass); }
.banner.fail { border-left-color: var(--fail); } .banner.fail strong { color: var(--fail); }
.banner.inconclusive { border-left-color: var(--open); }
.banner.inconclusive strong { color: var(--open); }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--link); }
dl { margin: .4rem 0; max-width: 75ch; } dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
.note { color: var(--soft); white-space: pre-line; }
.gallery { display: flex; flex-wrap: wrap; gap: .7rem; margin: .6rem 0; }
.gallery figure { margin: 0; padding: .5rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--tint); max-width: min(100%, 20rem); break-inside: avoid; }
.gallery img { display: block; max-width: 100%; height: auto; margin-bottom: .3rem; }
.gallery strong { display: block; overflow-wrap: anywhere; }
.reading { margin: .2rem 0; font-size: 1rem; }
.reading th, .reading td { padding: 0 .3rem; text-align: center; }
.reading th { font-size: .75rem; font-weight: 400; color: var(--soft); text-align: left; }
.reading .wrong { color: var(--bad-ink); font-weight: 700;
  background: rgba(var(--bad), .18); text-decoration: underline; }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #fff;
    --link: #000; --good: 9, 105, 218; --bad: 207, 34, 46; --bad-ink: #b3141f;
    --pass: #1a7f37; --fail: #b3141f; --open: #8a5a00; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; } h2 { break-after: avoid; } tr { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

TEMPLATE: Final = """\
{% macro show(block) %}
{% if block.kind == "paragraph" %}
<p>{{ block.text }}</p>
{% elif block.kind == "table" %}
{% if block.folded %}
<details><summary>{{ block.folded }}</summary>
{% endif %}
<div class="scroll" tabindex="0"><table{% if block.wide %} class="wide"{% endif %}>
{% if block.caption %}
<caption>{{ block.caption }}</caption>
{% endif %}
<thead><tr>
{%- for column in block.columns %}<th scope="col">{{ column }}</th>{% endfor -%}
</tr></thead>
<tbody>
{% for row in block.rows %}
<tr>
{%- for column in block.columns %}<td>
{%- if block.wide %}<span>{{ row.get(column, "") }}</span>
{%- else %}{{ row.get(column, "") }}{% endif %}</td>
{%- endfor -%}
</tr>
{% endfor %}
</tbody></table></div>
{% if block.folded %}
</details>
{% endif %}
{% elif block.kind == "banner" %}
<div class="banner {{ block.outcome }}" role="status"><strong>{{ block.title }}</strong>
{% if block.lines %}
<ul>
{% for line in block.lines %}
<li>{{ line }}</li>
{% endfor %}
</ul>
{% endif %}
</div>
{% elif block.kind == "charts" %}
<div class="charts">
{% for chart in block.charts %}
<figure class="chart">
<div role="img" aria-label="{{ chart.caption }}">{{ chart.svg|safe }}</div>
<figcaption class="note">{{ chart.caption }}</figcaption>
</figure>
{% endfor %}
</div>
{% elif block.kind == "terms" %}
<dl>
{% for term, text in block.terms.items() %}
<dt>{{ term }}</dt><dd>{{ text }}</dd>
{% endfor %}
</dl>
{% elif block.kind == "matrix" %}
<div class="scroll" tabindex="0"><table class="matrix">
<thead><tr><th>{{ block.corner }}</th>
{%- for column in block.columns %}<th scope="col">{{ column }}</th>{% endfor -%}
</tr></thead>
<tbody>
{% for label, cells in zip(block.rows, block.cells) %}
<tr><th scope="row">{{ label }}</th>
{%- for cell in cells %}
<td
{%- if cell.shade %} class="{{ "bad" if cell.wrong else "good" }}"
 style="--shade: {{ "%.2f"|format(cell.shade) }}"
{%- endif %}>{{ cell.text }}</td>
{%- endfor -%}
</tr>
{% endfor %}
</tbody></table></div>
{% elif block.kind == "picture" %}
<figure class="picture">
<img src="data:image/png;base64,{{ block.png|base64 }}" alt="{{ block.caption }}">
{% if block.caption %}
<figcaption class="note">{{ block.caption }}</figcaption>
{% endif %}
</figure>
{% elif block.kind == "gallery" %}
<div class="gallery">
{% for item in block.items %}
<figure>
<img src="data:image/jpeg;base64,{{ item.jpeg|base64 }}" alt="{{ item.title }}">
<figcaption>
{% if item.title %}
<strong>{{ item.title }}</strong>
{% endif %}
{% if item.positions %}
<table class="reading"><tbody>
<tr><th scope="row">truth</th>
{%- for place in item.positions %}<td>{{ place.truth }}</td>{% endfor %}</tr>
<tr><th scope="row">answer</th>
{%- for place in item.positions -%}
<td{% if place.wrong %} class="wrong"{% endif %}>{{ place.answer }}</td>
{%- endfor %}</tr>
</tbody></table>
{% endif %}
<div class="note">{{ item.caption }}</div>
</figcaption>
</figure>
{% endfor %}
</div>
{% endif %}
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
{% for line in summary %}
<p>{{ line }}</p>
{% endfor %}
{% for block in lead %}
{{ show(block) }}
{% endfor %}
</header>
<nav aria-label="Contents">
<ol>
{% for section in sections %}
<li><a href="#part-{{ loop.index }}">{{ section.title }}</a></li>
{% endfor %}
</ol>
</nav>
<main>
{% for section in sections %}
<section id="part-{{ loop.index }}">
<h2>{{ section.title }}</h2>
{% for block in section.blocks %}
{{ show(block) }}
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""
