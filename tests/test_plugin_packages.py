"""A plugin as an outsider ships it: built and installed as wheels, then used from the outside."""

import re
import shutil
from pathlib import Path

import polars as pl
from conftest import run

from coldstart.factors import factorize
from coldstart.splits import split
from coldstart.synth import make_catalogue

ROOT = Path(__file__).parents[1]
LYRICS = ROOT / "examples" / "coldstart-lyrics"


def test_only_the_wheels_are_used(outside: Path, tmp_path: Path) -> None:
    # The plugin is found but not imported: that would take seconds.
    code = (
        "import coldstart; from importlib.util import find_spec as find\n"
        "print(coldstart.__file__, find('coldstart_lyrics').origin, sep='\\n')"
    )
    for file in run(outside / "python", "-c", code, cwd=tmp_path).splitlines():
        assert Path(file).is_relative_to(outside.parent), file


def test_the_plugin_keeps_the_contract(outside: Path, tmp_path: Path) -> None:
    shutil.copytree(LYRICS / "tests", tmp_path / "tests")
    said = run(outside / "python", "-m", "pytest", "-q", "tests", cwd=tmp_path)
    assert " passed" in said


def invented_lyrics(catalogue: Path) -> pl.DataFrame:
    """Of most tracks, the genres and the attributes that they have much of, as words."""
    tracks = pl.read_parquet(catalogue / "tracks.parquet").iter_rows(named=True)
    graded = pl.read_parquet(catalogue / "mgp.parquet").drop("track_id").iter_rows(named=True)
    rows = [
        {
            "track_id": track["track_id"],
            "text": " ".join([*track["genres"], *(word for word in grades if grades[word] > 0.5)]),
        }
        for track, grades in zip(tracks, graded, strict=True)
    ]
    return pl.DataFrame(rows[5:])


def test_the_readme_s_commands_run_with_the_plugin(outside: Path, tmp_path: Path) -> None:
    make_catalogue(tmp_path, tracks=60, users=40, audio=False)
    splits = tmp_path / "splits.parquet"
    split(tmp_path / "tracks.parquet", out=splits)
    factorize(tmp_path / "listens.parquet", out=tmp_path / "factors", splits=splits, factors=8)
    invented_lyrics(tmp_path).write_parquet(tmp_path / "lyrics.parquet")
    shutil.copytree(LYRICS / "configs", tmp_path / "configs")
    short = {"fit": ["--trainer.max_epochs", "2", "--stage-folds", "1"], "test": ["--no-rivals"]}
    commands = (LYRICS / "README.md").read_text(encoding="utf-8").split("```")[1]
    for line in commands.strip().splitlines():
        verb, *rest = line.split()[1:]
        said = run(outside / "coldstart", verb, *rest, *short.get(verb, []), cwd=tmp_path)
    titles = pl.read_parquet(tmp_path / "tracks.parquet")["title"]
    assert any(title in said for title in titles)
    assert (tmp_path / "runs" / "mgp_lyrics" / "results.json").is_file()


def excerpt(file: str, start: str | None, end: str | None) -> str:
    """A file, or its lines from the first that holds `start` up to the next that holds `end`."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    if start:
        lines = lines[next(i for i, line in enumerate(lines) if start in line) :]
    if end:
        lines = lines[: next(i for i, line in enumerate(lines) if end in line)]
    return "\n".join(lines).strip("\n")


SOURCE = r'<!-- ([^\s:]+)(?:: from "(.+?)"(?: up to "(.+?)")?)? -->'


def test_the_page_s_code_is_the_files_own() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"{SOURCE}\n```\w*\n(.*?)\n```\n", page, re.DOTALL)
    assert len(blocks) * 2 == page.count("\n```")
    for file, start, end, block in blocks:
        assert block == excerpt(file, start, end), f"{file} {start}"
