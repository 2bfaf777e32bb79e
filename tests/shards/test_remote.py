"""Datasets at an address: a real server, real files, a real fit."""

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from bad_inputs.hosts import FIELDS, everything
from helpers import World

from coldstart.addresses import transfer
from coldstart.cli import main
from coldstart.commands.add import add
from coldstart.commands.remove import remove
from coldstart.commands.shard import shard
from coldstart.errors import InputError
from coldstart.shards import remote
from coldstart.shards.reading import Shards


class Site:
    """A folder served on loopback, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                site.asked.append(self.path)
                super().do_GET()

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/shards"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def site(tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    shutil.copytree(tiny_world.shards, tmp_path / "site" / "shards")
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "WAITS", (0.01,))
    # An address that were taken for a path would make a folder `http:` in the current one.
    here = tmp_path / "current"
    here.mkdir()
    monkeypatch.chdir(here)
    site = Site(tmp_path / "site")
    yield site
    site.server.shutdown()
    assert not list(here.iterdir())


def test_an_address_reads_as_the_folder_does_and_each_file_is_fetched_once(
    site: Site, tiny_world: World
) -> None:
    expected = everything(Shards(tiny_world.shards))
    assert everything(Shards(site.address + "/")) == expected
    tars = [path for path in site.asked if path.endswith(".tar")]
    assert tars
    assert len(set(tars)) == len(tars)
    assert not any("audio" in path for path in tars), "nobody asked for audio"
    site.asked.clear()
    assert everything(Shards(site.address)) == expected
    assert set(site.asked) == {"/shards/dataset.json"}


def test_a_model_is_fitted_and_tested_from_an_address(
    site: Site, tiny_world: World, tmp_path: Path
) -> None:
    def ndcg(shards: str, run: Path) -> float:
        data = [f"--data.shards={shards}", f"--data.factors={tiny_world.factors}"]
        quick = ["--trainer.max_epochs=1", "--stage-folds=2"]
        assert main(["fit", "--config=mgp_genres.yaml", f"--run={run}", *data, *quick]) == 0
        assert main(["test", f"--run={run}", "--no-rivals"]) == 0
        assert main(["predict", f"--run={run}"]) == 0
        assert (run / "predictions").is_dir()
        results = json.loads((run / "results.json").read_bytes())
        return float(results["rows"][0]["ndcg"])

    shutil.copytree(tiny_world.shards, tmp_path / "here")
    far = ndcg(site.address, tmp_path / "far")
    assert far == ndcg(str(tmp_path / "here"), tmp_path / "near")
    # What the first stage wrote lies in the copy, and stays there.
    assert not list((site.folder / "shards" / "train").glob("*stage*"))
    assert len(Shards(site.address).modalities) > len(Shards(tiny_world.shards).modalities)


def test_of_tracks_that_were_added_there_only_theirs_is_fetched(site: Site, tmp_path: Path) -> None:
    everything(Shards(site.address))
    table = pl.DataFrame({"track_id": ["x"], "title": ["X"], "artist": ["Y"], "genres": ["rock"]})
    table.write_csv(tmp_path / "new.csv")
    add(tmp_path / "new.csv", shards=site.folder / "shards")
    remove(["x"], shards=site.folder / "shards")
    site.asked.clear()
    shards = Shards(site.address)
    assert everything(shards) == everything(Shards(site.folder / "shards"))
    assert (shards.shard_sizes("new"), shards.removed) == ([1], frozenset({"x"}))
    assert [sample["genres.json"] for sample in shards.samples("new", 0, FIELDS)] == [b'["rock"]']
    new = [f"/shards/new/{name}" for name in ("tracks/000000.json", "genres/000000.tar")]
    assert set(site.asked) == {"/shards/dataset.json", *new}
    with pytest.raises(InputError, match="a dataset at an address can't take new tracks"):
        add(tmp_path / "new.csv", shards=site.address)
    with pytest.raises(InputError, match="a dataset at an address can't have tracks withdrawn"):
        remove(["x"], shards=site.address)


def test_what_has_changed_there_is_fetched_again_and_nothing_else(
    site: Site, tiny_world: World
) -> None:
    everything(Shards(site.address))
    changed = tiny_world.root / "doubled.csv"
    frame = pl.read_parquet(tiny_world.catalogue / "mgp.parquet")
    frame.with_columns(pl.exclude("track_id") * 2).write_csv(changed)
    shard(
        tiny_world.catalogue / "tracks.parquet",
        out=site.folder / "shards",
        modalities=[],
        attributes={"mgp": str(changed)},
        shard_size=8,
        overwrite=True,
        workers=1,
    )
    site.asked.clear()
    assert everything(Shards(site.address)) == everything(Shards(site.folder / "shards"))
    assert {path.split("/")[3] for path in site.asked if path.endswith(".tar")} == {"mgp"}


def test_what_cannot_be_fetched_is_named(
    site: Site, tiny_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"nowhere/dataset\.json: there is no such file"):
        Shards(site.address.replace("shards", "nowhere"))
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1/.*nobody answers"):
        Shards("http://127.0.0.1:1/shards")
    with pytest.raises(InputError, match=r"gopher://.*can't be fetched"):
        Shards("gopher://x/shards")
    shards = Shards(site.address)
    (site.folder / "shards" / "train" / "mgp" / "000001.tar").unlink()
    with pytest.raises(InputError, match=r"train/mgp/000001\.tar: there is no such file"):
        everything(shards)
    tables = str(tiny_world.catalogue / "tracks.parquet")
    assert main(["shard", tables, "--out", site.address]) == 2
    assert "a web server takes no files" in capsys.readouterr().err


def test_a_name_that_leads_elsewhere_is_refused(site: Site) -> None:
    path = site.folder / "shards" / "dataset.json"
    about = json.loads(path.read_bytes())
    about["modalities"]["../../mine"] = about["modalities"]["mgp"]
    path.write_text(json.dumps(about))
    with pytest.raises(InputError, match="can't be the name of a modality"):
        Shards(site.address)


def test_a_folder_from_somebody_else_cannot_make_us_fetch(site: Site, tmp_path: Path) -> None:
    copy = remote.mirror(site.address).rename(tmp_path / "given")
    shards = Shards(copy)
    assert shards.address is None
    with pytest.raises(InputError, match=r"missing, though dataset\.json lists it"):
        everything(shards)
