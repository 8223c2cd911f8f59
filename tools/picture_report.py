"""Pictures of report.md as a pull request shows it, for docs/images.

python tools/picture_report.py FOLDER    writes report-better.png, report-worse.png and report-undecided.png
python tools/picture_report.py FOLDER NAME=report.md    writes report-NAME.png

It needs wkhtmltoimage (Debian: apt-get install wkhtmltopdf).
"""

from __future__ import annotations

import html
import struct
import subprocess
import sys
import zlib
from pathlib import Path

from markdown_it import MarkdownIt

from example_reports import reports
from swarm_engine.markdown import markdown

WIDTH = 860
"""Pixels. A pull request on GitHub is about as wide."""
STYLE = """
body { font: 14px/1.5 "DejaVu Sans", sans-serif; color: #1f2328; margin: 24px; }
h1, h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: 4px; margin: 20px 0 12px; }
h1 { font-size: 24px; } h2 { font-size: 19px; } h3 { font-size: 16px; }
table { border-collapse: collapse; } th, td { border: 1px solid #d1d9e0; padding: 5px 12px; }
code, pre { font: 12px/1.45 "DejaVu Sans Mono", monospace; background: #f2f4f6; border-radius: 5px; }
code { padding: 2px 5px; } pre { padding: 12px; white-space: pre-wrap; } pre code { padding: 0; }
.plus { background: #dafbe1; display: block; } .minus { background: #ffebe9; display: block; } .same { display: block; }
blockquote { border-left: 4px solid #d1d9e0; margin: 0; padding: 0 14px; color: #59636e; }
"""


def page(text: str) -> str:
    """Returns a text in GitHub's Markdown as a page of HTML."""
    renderer = MarkdownIt("commonmark", {"highlight": _coloured, "html": True}).enable("table")
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style><body>{renderer.render(text)}'


def _coloured(code: str, language: str, _: str) -> str:
    """Returns code as HTML. The lines of a diff have their colours."""
    if language != "diff":
        return ""
    kinds = {"+": "plus", "-": "minus"}
    lines = [(kinds.get(line[:1], "same"), html.escape(line) or "&nbsp;") for line in code.splitlines()]
    return "".join(f'<span class="{kind}">{line}</span>' for kind, line in lines)


def picture(text: str) -> bytes:
    """Returns a text in Markdown as a picture, a PNG file."""
    command = ["wkhtmltoimage", "--quiet", "--width", str(WIDTH), "--format", "ppm", "-", "-"]
    made = subprocess.run(command, input=page(text).encode(), check=True, stdout=subprocess.PIPE)
    return _png(made.stdout)


def _png(ppm: bytes) -> bytes:
    """Returns a picture in the format PPM as PNG with few colours. It takes a quarter of wkhtmltoimage's own PNG.

    Source: https://www.w3.org/TR/png-3/
    """
    _, size, _, pixels = ppm.split(b"\n", 3)
    width, height = map(int, size.split())
    # White stays white, and the shades at the edges of letters become fewer.
    few = pixels.translate(bytes((value + 8) // 17 * 17 for value in range(256)))
    colours: dict[bytes, int] = {}
    indices = bytes(colours.setdefault(few[at : at + 3], len(colours)) for at in range(0, len(few), 3))
    rows = b"".join(b"\0" + indices[at : at + width] for at in range(0, len(indices), width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", b"".join(colours)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def main() -> None:
    """Writes pictures into the folder that the command line names."""
    folder, named = Path(sys.argv[1]), dict(word.split("=", 1) for word in sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: Path(file).read_text(encoding="utf-8") for name, file in named.items()}
    for name, text in (given or {name: markdown(report) for name, report in reports().items()}).items():
        (folder / f"report-{name}.png").write_bytes(picture(text))


if __name__ == "__main__":
    main()
