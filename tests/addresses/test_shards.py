"""Datasets in an object store that really speaks S3: read, trained on, cut short, refused."""

from pathlib import Path

import pytest
from addresses.store import BUCKET, Store, few_times
from bad_inputs.hosts import everything
from helpers import World

from coldstart.addresses.transfer import fetch
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.shards.reading import Shards

TAR = "train/mgp/000001.tar"


@pytest.fixture
def address(store: Store, tiny_world: World) -> str:
    return store.put(tiny_world.shards, "shards")


def test_a_bucket_reads_as_the_folder_does_and_each_file_is_fetched_once(
    store: Store, address: str, tiny_world: World
) -> None:
    expected = everything(Shards(tiny_world.shards))
    assert everything(Shards(f"{address}/")) == expected
    tars = [name for name in store.fetched() if name.endswith(".tar")]
    assert len(tars) == len(set(tars)) > 0
    store.asked.clear()
    assert everything(Shards(address)) == expected
    assert set(store.fetched()) == {"shards/dataset.json"}


def test_a_model_is_fitted_and_tested_from_a_bucket(
    address: str, tiny_world: World, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    data = [f"--data.shards={address}", f"--data.factors={tiny_world.factors}"]
    quick = ["--trainer.max_epochs=1"]
    assert main(["fit", "--config=mgp.yaml", f"--run={run}", *data, *quick]) == 0
    assert main(["test", f"--run={run}", "--no-rivals"]) == 0
    assert (run / "results.json").is_file()


@pytest.mark.parametrize("trouble", ["503", "500", "cut"])
def test_trouble_that_passes_is_not_noticed(
    store: Store, address: str, tiny_world: World, trouble: str
) -> None:
    store.rule = few_times(3, trouble, TAR)
    assert everything(Shards(address)) == everything(Shards(tiny_world.shards))
    assert store.fetched().count(f"shards/{TAR}") > 1


def test_a_cut_answer_goes_on_where_it_was_cut(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 5)  # its default
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4000)
    address = store.put(tmp_path / "large", "large")
    store.rule = few_times(2, "cut", "large")
    assert fetch(address, tmp_path, Path.read_bytes) == bytes(range(256)) * 4000
    assert len(store.fetched()) == 3


def test_a_large_file_is_written_as_it_comes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "default_block_size", 1 << 16)
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4000)
    address = store.put(tmp_path / "large", "large")
    assert fetch(address, tmp_path, Path.read_bytes) == bytes(range(256)) * 4000
    assert store.fetched() == ["large"], "pieces side by side would be held in memory"


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("503", "the server is in trouble"),
        ("500", "the server is in trouble"),
        ("cut", "the connection broke off"),
        ("403", "access is refused"),
    ],
)
def test_trouble_that_stays_is_named_and_the_next_run_goes_on(
    store: Store, address: str, tiny_world: World, trouble: str, message: str
) -> None:
    shards = Shards(address)
    store.rule = few_times(10_000, trouble, TAR)
    with pytest.raises(InputError, match=rf"s3://bucket/shards/{TAR}: {message}.*; "):
        everything(shards)
    store.rule = few_times(0, "pass")
    store.asked.clear()
    assert everything(Shards(address)) == everything(Shards(tiny_world.shards))
    assert "shards/train/mgp/000000.tar" not in store.fetched()


@pytest.mark.parametrize("place", [f"s3://{BUCKET}/nowhere", "s3://nobucket/shards"])
def test_what_is_not_there_is_named(store: Store, place: str) -> None:
    with pytest.raises(InputError, match=rf"{place}/dataset\.json: there is no such file"):
        Shards(place)


def test_without_credentials_the_message_says_so(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"dataset\.json: no credentials are found.*put your cred"):
        Shards(address)
    assert store.asked == []


def test_a_wrong_key_is_refused_once(store: Store, address: str) -> None:
    store.control("reset-auth", b"0")
    try:
        with pytest.raises(InputError, match=r"dataset\.json: access is refused \(.*; make it pub"):
            Shards(address)
    finally:
        store.control("reset-auth", b"inf")
    assert len(store.asked) <= 2, "no second try"


def test_a_store_that_is_not_there_is_named(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"dataset\.json: nobody answers"):
        Shards(address)
