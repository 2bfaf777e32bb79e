"""The verb `report`: a run, a benchmark or an ablation as one page to look at."""

from __future__ import annotations

from pathlib import Path

from coldstart.errors import InputError
from coldstart.files import StrPath, unusable, writable
from coldstart.reporting.text import clean


def report(
    *,
    run: StrPath,
    out: StrPath | None = None,
    pictures: StrPath | None = None,
    play: bool = False,
    shards: str | None = None,
    factors: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one HTML page that shows how good a run is, and what it does.

    The page holds its pictures, works without a network, and prints. What the folder lacks is left
    out, and named at the page's end with the command that makes it.

    Args:
        run: folder of a run, of a benchmark or of an ablation.
        out: file to write; by default report.html in the folder.
        pictures: folder to write each picture into as well, as PNG and SVG.
        play: put 15 seconds of the tracks' sound on the page; mind whose rights it is under.
        shards: where the run's shards lie, if they have been moved.
        factors: where the run's factors lie, if they have been moved.
        overwrite: replace `out` if it exists.

    Returns:
        The page's path.

    Raises:
        InputError: it is no such folder, or `out` is there.
    """
    from coldstart.reporting.page import document, pictures_of, write_page, write_pictures
    from coldstart.summary.material import Material
    from coldstart.summary.run_page import MOST_BYTES, run_page
    from coldstart.summary.study_page import study_of, study_page

    folder = Path(run)
    path = writable(folder / "report.html" if out is None else out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out: {path}: a page's name ends with .html")
    if not unusable(path) and not overwrite:
        raise InputError(f"{path} is there; name another --out, or replace it with --overwrite")
    if pictures is not None:
        writable(pictures)
    study = study_of(folder)
    if study is not None:
        page = study_page(folder, study)
    else:
        page = run_page(Material(folder, shards=shards, factors=factors, play=play))
    text = document(page)
    size = len(text.encode())
    if size > MOST_BYTES:
        raise InputError(f"{path}: the page would have {size / 1e6:.1f} MB; leave out --play")
    write_page(path, text)
    print(clean(page.lead.title))
    if pictures is not None:
        files = write_pictures(pictures, pictures_of(page))
        print(f"wrote {len(files)} pictures into {pictures}")
    if page.missing:
        print(f"not on the page: {', '.join(what.lower() for what, _ in page.missing)}")
    print(f"wrote {path} ({size / 1e6:.1f} MB): open it in a browser")
    return path
