"""What the pages say of the program is so: commands, configs, messages."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from helpers import ROOT, World

import coldstart as cs
from coldstart.cli import LIGHTNING_VERBS, VERBS, main

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "experiments").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[str]:
    """The page's blocks that are in no language."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [block for language, block in found if language in ("", "bash", "sh")]


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind `coldstart`, of each command in a page's blocks."""
    for block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("coldstart ") and "…" not in line:
                yield shlex.split(line.partition(" > ")[0], comments=True)[1:]


COMMANDS = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
]


def is_of_lightning(words: list[str]) -> bool:
    """Whether its arguments can only be checked with data: tests of their own run these."""
    return words[0] in LIGHTNING_VERBS or words[0] in ("listen", "tune", "ablate")


@pytest.mark.parametrize(
    "words",
    [p for p in COMMANDS if not is_of_lightning(p.values[0])],  # type: ignore[arg-type]
)
def test_a_command_s_arguments_are_known(words: list[str]) -> None:
    assert words[0] in VERBS or words[0].startswith("--")
    if words[0].startswith("--") or words[0] == "plugins":
        return
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as stop,
    ):
        main([*words, "--print_config"])
    assert stop.value.code == 0, said.getvalue()


def test_the_walk_is_the_readme_s_which_is_run() -> None:
    readme, walk = (
        next(block for block in blocks(page) if "coldstart split" in block)
        for page in (ROOT / "README.md", DOCS / "your-music.md")
    )
    assert walk == readme


def test_configs_that_pages_name_are_shipped() -> None:
    shipped = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    for page in ("recipes.md", "training.md", "hardware.md", "faq.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        named = set(re.findall(r"`(\w+\.yaml)", text)) - {"config.yaml", "hparams.yaml"}
        assert named - shipped == set(), page


def test_every_verb_has_its_line() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"`{verb}`" not in text] == []


def source() -> str:
    """The package's text, each message of several literals as one."""
    whole = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "coldstart").rglob("*.py"))
    )
    return re.sub(r'"\s*\n\s*f?"', "", whole)


def test_the_messages_of_the_questions_are_the_program_s() -> None:
    text = (DOCS / "faq.md").read_text(encoding="utf-8")
    messages = re.findall(r'\*\*"(.+?)"', text.replace("\n", " "))
    assert len(messages) > 15
    program = source()
    for message in messages:
        for part in message.split("…"):
            assert part.strip(' "') in program, message


def test_pages_lead_on() -> None:
    """The pages of the way through end with a link to the next one."""
    alone = [
        page.name
        for page in DOCS.glob("*.md")
        if not re.search(r"\]\([\w./-]+\.md(#[\w-]+)?\)", page.read_text().strip()[-400:])
    ]
    assert alone == []


# The commands of the pages on tables and on recommending, run in their order.

DATA = ["--data.shards", "shards", "--data.factors", "factors"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every table that the pages name."""
    folder = tmp_path_factory.mktemp("tables")
    cs.make_catalogue(folder, tracks=120, users=60, seed=0, audio=False)
    tracks = pl.read_parquet(folder / "tracks.parquet")
    listens = pl.read_parquet(folder / "listens.parquet")
    days = pl.int_range(pl.len()) * 7 % 4000
    times = pl.datetime(2014, 1, 1) + pl.duration(days=days)
    listens.with_columns(timestamp=times).write_parquet(folder / "listens.parquet")
    mgp = pl.read_parquet(folder / "mgp.parquet")
    ids = tracks["track_id"]
    new = pl.Series("track_id", ["a1", "b7", "c3"])
    tracks.head(3).with_columns(new).write_parquet(folder / "new.parquet")
    mgp.head(3).with_columns(new).write_parquet(folder / "new_mgp.parquet")
    mgp.select("track_id", mood=pl.col("fast_tempo")).write_parquet(folder / "mood.parquet")
    words = pl.Series([f"river {number % 7} moon {number % 3} light" for number in range(len(ids))])
    pl.DataFrame({"track_id": ids, "text": words}).write_parquet(folder / "lyrics.parquet")
    others = {"user_id": "uid", "track_id": "song", "plays": "cnt"}
    listens.rename(others).write_csv(folder / "log.csv.gz", compression="gzip")
    catalogue = {"track_id": "song", "title": "name", "artist": "performer"}
    tracks.drop("genres").rename(catalogue).write_csv(folder / "catalogue.csv")
    listens.sample(40, seed=1).select("user_id", "track_id").write_parquet(
        folder / "yesterday.parquet"
    )
    return folder


def run(words: list[str]) -> None:
    assert main(words) == 0, words


def test_commands_on_tables(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables)
    page = DOCS / "data.md"
    (config,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    Path("lyrics.yaml").write_text(config, encoding="utf-8")
    for words in commands(page):
        if "cqt" in " ".join(words):
            continue  # sound, which the test below has
        if words[0] == "add":
            run(["fit", "--config", "kernel.yaml", "--run", "runs/live", *DATA])
        run(words)


def test_commands_on_spectrograms(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tracks.parquet", "audio"):
        (tmp_path / name).symlink_to(tiny_world.catalogue / name)
    (tmp_path / "splits.parquet").symlink_to(tiny_world.splits)
    (tmp_path / "factors").symlink_to(tiny_world.factors)
    monkeypatch.chdir(tmp_path)
    first, second = (w for w in commands(DOCS / "data.md") if "cqt" in " ".join(w))
    run(first)
    net = "--model.encoders.audio"
    small = [f"{net}.net=small", f"{net}.patch_seconds=4", f"{net}.hop=1.0", f"{net}.dim=16"]
    run([*second, *small, "--trainer.max_epochs=1", "--data.workers=0", "--data.batch_size=8"])


def test_commands_on_recommending(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables)
    for words in (
        ["split", "tracks.parquet", "--out", "used/splits.parquet", "--seed", "3"],
        [
            "factorize",
            "listens.parquet",
            "--splits",
            "used/splits.parquet",
            "--out",
            "used/factors",
        ],
        ["shard", "tracks.parquet", "--splits", "used/splits.parquet", "--out", "used/shards"],
    ):
        run(words)
    data = ["--data.shards", "used/shards", "--data.factors", "used/factors"]
    run(["fit", "--config", "default.yaml", "--run", "runs/used", *data])
    for words in [*commands(DOCS / "recommend.md"), *commands(DOCS / "report.md")]:
        assert "--audio" not in words, "a model that hears has tests of its own"
        run([re.sub(r"runs/\w+", "runs/used", word) for word in words])
