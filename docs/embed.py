"""Fill the code blocks of docs/plugins.md from the files that they quote.

    python docs/embed.py

A block stands below a comment that names a file, `<!-- FILE -->`, or a part of it, from the first
line that contains A to the line before the next with B: `<!-- FILE: from "A" up to "B" -->`.
"""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugins.md"
BLOCK = re.compile(
    r'(<!-- ([^\s:]+)(?:: from "(.+?)"(?: up to "(.+?)")?)? -->\n```\w*\n).*?\n(```\n)', re.DOTALL
)


def excerpt(file: str, start: str | None, end: str | None) -> str:
    """A file's text, or a part of it; without the margin that all of its lines have."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    if start:
        lines = lines[next(i for i, line in enumerate(lines) if start in line) :]
    if end:
        lines = lines[: next(i for i, line in enumerate(lines) if end in line)]
    return textwrap.dedent("\n".join(lines)).strip("\n")


def filled(page: str) -> str:
    """The page with its blocks as the files are now."""
    return BLOCK.sub(lambda m: f"{m[1]}{excerpt(*m.group(2, 3, 4))}\n{m[5]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
