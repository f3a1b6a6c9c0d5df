"""A self-contained HTML page from data: sections of text, tables, pictures, films and commands.

Everything is inside the one file; the page asks nobody for anything and says so in its content
security policy. It reads well on a phone, on paper and without colours.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


@runtime_checkable
class Block(Protocol):
    """A piece of a section."""

    def html(self) -> str:
        """Return the piece as HTML, with everything that was given as text escaped."""
        ...


class Text(NamedTuple):
    """A paragraph."""

    text: str

    def html(self) -> str:
        """Return a paragraph."""
        return f"<p>{html.escape(self.text)}</p>"


class Tile(NamedTuple):
    """One figure that matters."""

    value: str
    label: str


class Tiles(NamedTuple):
    """Figures that matter, in large letters."""

    tiles: Sequence[Tile]

    def html(self) -> str:
        """Return a row of tiles, which wraps."""
        cells = (
            f"<div class=tile><b>{html.escape(tile.value)}</b>{html.escape(tile.label)}</div>"
            for tile in self.tiles
        )
        return f"<div class=tiles>{''.join(cells)}</div>"


class Table(NamedTuple):
    """Rows of text; the first column names the row."""

    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()

    def html(self) -> str:
        """Return a table; on a narrow screen every row becomes a list below its name."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        head = f"<thead><tr>{head}</tr></thead>" if head else ""
        return f"<table>{head}<tbody>{body}</tbody></table>"

    def _cells(self, row: Sequence[str]) -> str:
        """Return the cells of a row; each carries its column's name, to be shown in a list."""
        names = [*self.header, *[""] * len(row)]
        return "".join(
            f'<td data-name="{html.escape(name, quote=True)}">{html.escape(cell)}</td>'
            for name, cell in zip(names, row, strict=False)
        )


class Picture(NamedTuple):
    """A PNG file, and one that a narrow screen shows instead."""

    path: Path
    caption: str
    narrow: Path | None = None

    def html(self) -> str:
        """Return the picture with its caption."""
        alt = html.escape(self.caption, quote=True)
        picture = f'<img src="{_png(self.path)}" alt="{alt}">'
        if self.narrow is not None:
            other = f'<source media="(max-width: {NARROW_REM}rem)" srcset="{_png(self.narrow)}">'
            picture = f"<picture>{other}{picture}</picture>"
        return _figure(picture, self.caption)


class Film(NamedTuple):
    """An MP4 file."""

    path: Path
    caption: str

    def html(self) -> str:
        """Return a player that begins by itself, without sound, and repeats."""
        source = f"data:video/mp4;base64,{_base64(self.path)}"
        player = f'<video src="{source}" controls autoplay muted loop playsinline></video>'
        return _figure(player, self.caption)


class Commands(NamedTuple):
    """Command lines to copy."""

    lines: Sequence[str]

    def html(self) -> str:
        """Return preformatted lines."""
        return f"<pre>{html.escape(chr(10).join(self.lines))}</pre>"


class Details(NamedTuple):
    """Blocks that are shown on request."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Return a line that opens when it is clicked."""
        body = "".join(block.html() for block in self.blocks)
        return f"<details><summary>{html.escape(self.summary)}</summary>{body}</details>"


class Section(NamedTuple):
    """A titled part of a page."""

    title: str
    blocks: Sequence[Block]


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return the whole page; a section without blocks is left out."""
    parts = [
        f"<section><h2>{html.escape(section.title)}</h2>"
        f"{''.join(block.html() for block in section.blocks)}</section>"
        for section in sections
        if section.blocks
    ]
    return PAGE.format(
        title=html.escape(title), subtitle=html.escape(subtitle), style=STYLE, body="\n".join(parts)
    )


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _png(path: Path) -> str:
    return f"data:image/png;base64,{_base64(path)}"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


NARROW_REM = 40
"""Width below which tables become lists and pictures have their narrow form."""

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f5f7; color: #1c2430; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; margin: 1rem 0 0; }
h1 + p { margin: 0.2rem 0 1.2rem; color: #566; }
h2 { font-size: 1.15rem; margin: 0 0 0.6rem; }
section { background: white; border: 1px solid #dde1e6; border-radius: 8px; padding: 1rem 1.2rem;
  margin: 0 0 1rem; }
p { max-width: 46rem; margin: 0.5rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.8rem; }
.tile { background: #eef4f9; border-radius: 6px; padding: 0.7rem 0.9rem; font-size: 0.88rem; }
.tile b { display: block; font-size: 1.55rem; color: #00507d; }
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.28rem 1.1rem 0.28rem 0; border-bottom: 1px solid #e6e9ed;
  vertical-align: top; font-variant-numeric: tabular-nums; }
th { color: #566; font-weight: 600; }
td:first-child { white-space: nowrap; }
figure { margin: 0.9rem 0; }
img, video { max-width: 100%; height: auto; border: 1px solid #dde1e6; border-radius: 4px;
  background: white; box-sizing: border-box; }
figcaption { color: #566; font-size: 0.88rem; max-width: 46rem; }
pre { background: #f0f2f5; border-radius: 6px; padding: 0.7rem 0.9rem; overflow-x: auto;
  font-size: 0.86rem; }
summary { cursor: pointer; color: #00507d; margin: 0.4rem 0; }
td { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { border-bottom: 1px solid #e6e9ed; padding: 0.4rem 0; }
  td { border: none; padding: 0.1rem 0; }
  td:first-child { white-space: normal; font-weight: 600; }
  td:empty { display: none; }
  td + td:not([data-name=""])::before { content: attr(data-name) ": "; color: #566; }
}
@media print { body { background: white; } section { break-inside: avoid; border: none; } }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{subtitle}</p>
{body}
</main>
</body>
</html>
"""
