"""A hook of MkDocs: the site's files are the repository's own, laid out as they are there.

So a link from page to page, or to an example or a config, leads to the same file in both.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PLACES = (
    "*.md",
    "LICENSE",
    "configs/*",
    "docs/**/*",
    "examples/**/*",
    "coldstart/targets/*.py",
    "tests/targets/*.py",
)
"""What pages are, or link to, as patterns below the repository's folder."""

LEFT_OUT = {"__pycache__", "embed.py", "site_files.py"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Take these files instead of those of `docs_dir`, and beside what the theme brings."""
    root = Path(config.config_file_path).parent
    paths = {path for place in PLACES for path in root.glob(place) if path.is_file()}
    ours = [
        File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path))
        for path in sorted(paths)
        if not LEFT_OUT.intersection(path.parts)
    ]
    others = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*others, *ours])
