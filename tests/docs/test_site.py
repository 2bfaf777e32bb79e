"""The documentation as a site: it builds, its links lead somewhere, nothing is fetched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

import coldstart as cs

DOCS = ROOT / "docs"
FROM_ELSEWHERE = re.compile(
    r'<(?:link|script|img|iframe|source)\b[^>]*?(?:src|href)="(?:https?:)?//'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; `--strict` makes an error of a page, an anchor or a name that there isn't."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"{done.stderr}\nA file outside docs/ that is linked needs a line in docs/site_files.py."
    )
    return folder


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    fetched = {
        page.name: found[0]
        for page in pages
        if (found := FROM_ELSEWHERE.search(page.read_text(encoding="utf-8")))
    }
    assert fetched == {}
    styles = "".join(style.read_text(encoding="utf-8") for style in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?https?:", styles)


def test_the_reference_has_every_public_name(site: Path) -> None:
    page = (site / "docs" / "api.html").read_text(encoding="utf-8")
    missing = [name for name in cs.__all__ if f'id="coldstart.{name}"' not in page]
    assert missing == []


def test_pages_of_the_repository_are_those_of_the_site(site: Path) -> None:
    """A page that no pattern of docs/site_files.py has would be missing."""
    for page in [*DOCS.rglob("*.md"), *(ROOT / "examples").rglob("README.md")]:
        shown = page.relative_to(ROOT).with_suffix(".html")
        shown = shown.with_name("index.html") if shown.name == "README.html" else shown
        assert (site / shown).is_file(), shown
