"""Writing to a terminal or a pipe of any encoding."""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Any

PLAIN = {
    "→": "->",
    "…": "...",
    "–": "-",
    "−": "-",
    "─": "-",
    "×": "x",
    "·": "|",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "‖": "||",
    "λ": "lambda",
    "Σ": "sum",
    "²": "^2",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "█": "#",
    "━": "-",
    "•": "*",
}
"""What stands for a character that a terminal's encoding lacks; `?` for any other."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


codecs.register_error("coldstart", _plain)


def write_plainly() -> None:
    """From now on, stdout and stderr write other characters where their encoding lacks one.

    So nothing dies at a terminal, or a pipe, that isn't UTF-8 (Windows' code pages, `LANG=C`), nor
    for a file's name that is no text.

    >>> "100 × → … 日".encode("ascii", "coldstart")
    b'100 x -> ... ?'
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="coldstart")


def speaks_unicode(stream: object) -> bool:
    """Whether a text stream can write any character.

    >>> import io
    >>> speaks_unicode(io.TextIOWrapper(io.BytesIO(), "cp1252")), speaks_unicode(io.StringIO())
    (False, True)
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name.startswith("utf")


def json_line(content: Any) -> str:
    """JSON for stdout, for programs; escaped where the encoding lacks characters.

    >>> json_line({"track_id": "日"})
    '{"track_id": "日"}'
    """
    return json.dumps(content, ensure_ascii=not speaks_unicode(sys.stdout))
