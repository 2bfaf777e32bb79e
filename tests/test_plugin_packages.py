"""A plugin as an outsider ships it: built and installed as wheels, then used from the outside."""

import runpy
import shutil
from pathlib import Path

import polars as pl
from conftest import ROOT, SMALL_AUDIO, World, run

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


def test_the_readme_s_commands_run_with_the_plugin(
    outside: Path, tiny_world: World, tmp_path: Path
) -> None:
    """It fits audio and lyrics together, and each command reads what the one before has saved."""
    for path in (tiny_world.splits, tiny_world.factors, *tiny_world.catalogue.iterdir()):
        (tmp_path / path.name).symlink_to(path)
    invented_lyrics(tmp_path).write_parquet(tmp_path / "lyrics.parquet")
    shutil.copytree(LYRICS / "configs", tmp_path / "configs")
    small = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    short = {
        "shard": ["--sample-rate", "8000", "--workers", "1"],
        "fit": ["--trainer.max_epochs", "2", "--stages", "1", "--data.workers", "0", *small],
        "test": ["--no-rivals"],
    }
    commands = (LYRICS / "README.md").read_text(encoding="utf-8").split("```")[1]
    for line in commands.strip().splitlines():
        verb, *rest = line.split()[1:]
        said = run(outside / "coldstart", verb, *rest, *short.get(verb, []), cwd=tmp_path)
    titles = pl.read_parquet(tmp_path / "tracks.parquet")["title"]
    assert any(title in said for title in titles)
    assert (tmp_path / "runs" / "audio_lyrics" / "results.json").is_file()


def test_the_page_s_code_is_the_files_own() -> None:
    embed = runpy.run_path(str(ROOT / "docs" / "embed.py"))
    page = embed["PAGE"].read_text(encoding="utf-8")
    assert len(embed["BLOCK"].findall(page)) * 2 == page.count("\n```"), "a block names no file"
    assert embed["filled"](page) == page, "files have changed; mend it by: python docs/embed.py"
