"""The example packages as an outsider ships them: built and installed as wheels, and used."""

import runpy
import shutil
from pathlib import Path

import polars as pl
import pytest
from helpers import PLUGINS, ROOT, SMALL_AUDIO, World, commands, run, run_in_one
from PIL import Image

LYRICS, COVER = (ROOT / "examples" / name for name in ("coldstart-lyrics", "coldstart-cover"))
QUICK = {
    "shard": ["--sample-rate", "8000", "--workers", "1"],
    "fit": ["--trainer.max_epochs", "2", "--stages", "1", "--data.workers", "0"],
    "test": ["--no-rivals"],
}


@pytest.fixture
def tables(tiny_world: World, tmp_path: Path) -> Path:
    """A folder with what the READMEs' commands begin with, without the plugins' own tables."""
    for path in (tiny_world.splits, tiny_world.factors, *tiny_world.catalogue.iterdir()):
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_only_the_wheels_are_used(outside: Path, tmp_path: Path) -> None:
    # The plugins are found but not imported: that would take seconds.
    names = ["coldstart", *(folder.name.replace("-", "_") for folder in PLUGINS)]
    code = f"from importlib.util import find_spec\nfor n in {names}: print(find_spec(n).origin)"
    files = run(outside / "python", "-c", code, cwd=tmp_path).split()
    assert len(files) == len(names)
    for file in files:
        assert Path(file).is_relative_to(outside.parent), file


@pytest.mark.parametrize("package", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_keeps_the_contract(package: Path, outside: Path, tmp_path: Path) -> None:
    shutil.copytree(package / "tests", tmp_path / "tests")
    said = run(outside / "python", "-m", "pytest", "-q", "tests", cwd=tmp_path)
    assert " passed" in said


def test_audio_and_lyrics_are_fused_saved_and_recommended_from(outside: Path, tables: Path) -> None:
    """As the README says; the last command, a process of its own, reads what others have saved."""
    tracks = pl.read_parquet(tables / "tracks.parquet")
    # Some have no lyrics.
    lyrics = tracks.select("track_id", pl.col("genres").list.join(" ").alias("text"))[5:]
    lyrics.write_parquet(tables / "lyrics.parquet")
    shutil.copytree(LYRICS / "configs", tables / "configs")
    small = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    *verbs, last = commands(LYRICS / "README.md", QUICK | {"fit": [*QUICK["fit"], *small]})
    run_in_one(outside / "python", verbs, cwd=tables)
    said = run(outside / "coldstart", *last, cwd=tables)
    assert any(title in said for title in tracks["title"])
    assert (tables / "runs" / "audio_lyrics" / "results.json").is_file()


def test_covers_are_recommended_from(outside: Path, tables: Path) -> None:
    tracks = pl.read_parquet(tables / "tracks.parquet")
    covers = tracks.select("track_id", path="covers/" + tracks["track_id"] + ".jpg")[5:]
    covers.write_parquet(tables / "covers.parquet")
    (tables / "covers").mkdir()
    for i, path in enumerate(covers["path"]):
        Image.new("RGB", (80, 80), (4 * i, 128, 255 - 4 * i)).save(tables / path)
    shutil.copytree(COVER / "configs", tables / "configs")
    said = run_in_one(outside / "python", commands(COVER / "README.md", QUICK), cwd=tables)
    assert any(title in said for title in tracks["title"])
    assert "single patches" not in said  # streamed, but a track has one value


def test_every_config_of_theirs_parses(outside: Path, tmp_path: Path) -> None:
    configs = [path for folder in PLUGINS for path in sorted(folder.glob("configs/*.yaml"))]
    code = (
        "import sys; from coldstart.cli import main\n"
        "for config in sys.argv[1:]:\n"
        "    try: main(['fit', '--config', config, '--print_config'])\n"
        "    except SystemExit as stop: assert not stop.code, config\n"
    )
    said = run(outside / "python", "-c", code, *configs, cwd=tmp_path)
    assert said.count("\ntrainer:") == len(configs) == 4
    assert said.count("class_path: coldstart_") == len(configs)


def test_the_page_s_code_is_the_files_own() -> None:
    embed = runpy.run_path(str(ROOT / "docs" / "embed.py"))
    page = embed["PAGE"].read_text(encoding="utf-8")
    assert len(embed["BLOCK"].findall(page)) * 2 == page.count("\n```"), "a block names no file"
    assert embed["filled"](page) == page, "files have changed; mend it by: python docs/embed.py"
