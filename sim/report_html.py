"""The few elements of HTML that the mission report is built from; every text passes `escape`."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --muted: #59636e; --line: #d5dae0; --soft: #f4f6f8; --accent: #0b4a75; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 40px 48px; max-width: 1100px; background: #fff; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
h1, h2, h3, p, dd, td, th, figcaption { overflow-wrap: anywhere; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 12px; padding-top: 14px; border-top: 2px solid var(--accent); }
h3 { font-size: 16px; margin: 26px 0 8px; }
p { margin: 8px 0; max-width: 76ch; }
a { color: var(--accent); }
.eyebrow { color: var(--accent); font-weight: 600; font-size: 13px; letter-spacing: 0.06em;
  text-transform: uppercase; margin: 0 0 4px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 26px; margin: 10px 0 18px; padding: 0; color: var(--muted); }
.facts div { display: flex; gap: 6px; } .facts dt { color: var(--muted); } .facts dd { margin: 0; color: var(--ink); }
.verdict { font-size: 18px; line-height: 1.45; border-left: 4px solid var(--accent); padding: 10px 16px;
  background: var(--soft); max-width: none; margin: 0 0 20px; }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 10px; margin: 0 0 14px; padding: 0; }
.tiles div { border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; break-inside: avoid;
  display: flex; flex-direction: column; }
.tiles dt { font-size: 12.5px; color: var(--muted); order: 1; }
.tiles dd { margin: 0; } .tiles .value { font-size: 22px; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; } .tiles .note { font-size: 12.5px; color: var(--muted); order: 2; }
nav { font-size: 14px; margin: 0 0 8px; } nav a { margin-right: 16px; white-space: nowrap; }
figure { margin: 14px 0 22px; break-inside: avoid; }
figure img { width: 100%; height: auto; display: block; }
figcaption, .note { font-size: 13.5px; color: var(--muted); } figcaption { margin-top: 6px; max-width: 100ch; }
table { border-collapse: collapse; font-size: 14px; margin: 12px 0 18px; font-variant-numeric: tabular-nums;
  max-width: 100%; }
caption { text-align: left; font-weight: 600; padding: 0 0 5px; }
th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 1.5px solid #8b95a1; font-weight: 600; color: var(--muted); font-size: 13px;
  vertical-align: bottom; }
tbody th { font-weight: 400; } .num { text-align: right; white-space: nowrap; } .best { font-weight: 700; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 44px; align-items: start; }
.pair table { width: 100%; } code, .mono { font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 7px;
  border: 1px solid #0003; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
footer { margin-top: 40px; padding-top: 10px; border-top: 1px solid var(--line); font-size: 13px;
  color: var(--muted); }
@media (max-width: 760px) { body { padding: 16px; } .tiles { grid-template-columns: repeat(2, 1fr); }
  .pair { grid-template-columns: 1fr; } }
@media print { @page { size: A4; margin: 14mm; } body { padding: 0; font-size: 10.5pt; max-width: none; }
  nav { display: none; } tr, .verdict { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


class Markup(str):
    """Text that is HTML already; everything else is escaped."""

    __slots__ = ()


def escape(text: object, limit: int = 400) -> Markup:
    """`text` as HTML: escaped, cut to `limit` characters, control characters and lone surrogates made visible."""
    if isinstance(text, Markup):
        return text
    line = str(text)
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return Markup(
        html.escape("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in line))
    )


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """`<tag>` around the children; an attribute `class_` is written `class`."""
    named = "".join(f' {name.rstrip("_")}="{escape(value, 2000)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{named}>{''.join(map(escape, children))}</{tag}>")


def join(*parts: str) -> Markup:
    """Elements one after the other, each on its own line."""
    return Markup("\n".join(escape(part) for part in parts if part))


def picture(png: bytes, width_px: float, height_px: float, alt: str, caption: str) -> Markup:
    """A figure with the PNG inside the document, its alternative text and a caption."""
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    size = f'width="{width_px:.0f}" height="{height_px:.0f}"'
    image = Markup(f'<img src="{source}" {size} alt="{escape(alt, 2000)}">')
    return element("figure", image, element("figcaption", caption))


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[object]], limit: int = 200) -> Markup:
    """A table whose first column names the row and whose other columns are right-aligned where they hold figures.

    At most `limit` rows are written; a line below says how many were left out.
    """
    if not rows:
        return element("p", f"{caption}: none.", class_="note")
    numeric = [i > 0 and all(_is_figure(row[i]) for row in rows) for i in range(len(header))]
    classes = [' class="num"' if n else "" for n in numeric]
    head = "".join(f'<th scope="col"{c}>{escape(h)}</th>' for c, h in zip(classes, header, strict=True))
    body = "\n".join(_row(row, classes) for row in rows[:limit])
    more = "" if len(rows) <= limit else element("p", f"and {len(rows) - limit} more rows", class_="note")
    title = element("caption", caption) if caption else ""
    return join(
        Markup(f"<table>{title}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"),
        more,
    )


def _row(row: Sequence[object], classes: Sequence[str]) -> str:
    first, *rest = row
    cells = "".join(f"<td{c}>{escape(cell)}</td>" for c, cell in zip(classes[1:], rest, strict=True))
    return f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'


def _is_figure(cell: object) -> bool:
    text = str(cell)
    return (
        isinstance(cell, Markup)
        or text == "n/a"
        or text[:1].isdigit()
        or text[:2] in ("T+", *(f"−{d}" for d in range(10)))
    )


def document(title: str, body: str) -> str:
    """The whole page: one file that needs no network and runs no script."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
