"""The frame of a page: one file, no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1f24; --soft: #5c6670; --line: #d5dae0;
  --tile: #f4f6f8; --right: #1f6fd0; --wrong: #c8501e; --heat: 31, 111, 208; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --ink: #e6e9ed; --soft: #9aa4af; --line: #343b44;
  --tile: #1e2329; --right: #6aa8f5; --wrong: #f08a5d; --heat: 106, 168, 245; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem }
p { margin: .25rem 0 } .soft { color: var(--soft) }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 }
.tile { background: var(--tile); border-radius: .5rem; padding: .6rem .9rem; min-width: 8rem }
.tile b { display: block; font-size: 1.35rem } .tile span { color: var(--soft); font-size: .85rem }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem }
figure { margin: 0 } figcaption { color: var(--soft); font-size: .85rem }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--soft); font: 12px system-ui, sans-serif }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere } th { overflow-wrap: normal } td.number, th.number { text-align: right; white-space: nowrap }
.wrong { color: var(--wrong) } .right { color: var(--right) } details { margin: .5rem 0 } summary { cursor: pointer }
.heat td { padding: 0; border: 1px solid var(--ground); height: 1.6rem; text-align: center; font-size: .7rem }
"""


def page(title: str, *parts: str) -> str:
    """Return a whole page. `title` is text, `parts` are HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )


def tiles(pairs: Iterable[tuple[str, str]]) -> str:
    """Return numbers with their names, both text."""
    cells = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in pairs)
    return f'<div class="tiles">{"".join(cells)}</div>'


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; cells are HTML. A column whose head begins with "#" holds numbers."""
    names = list(head)
    kinds = [' class="number"' if name.startswith("#") else "" for name in names]
    top = "".join(f"<th{kind}>{escape(name.removeprefix('#'))}</th>" for kind, name in zip(kinds, names, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
