"""Files are written whole or not at all, and to this machine alone: an address is refused."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart.cli import main
from coldstart.commands.dataset import dataset
from coldstart.commands.factorize import factorize
from coldstart.commands.new_encoder import new_encoder
from coldstart.commands.split import split
from coldstart.datasets import LOADERS
from coldstart.datasets.synthetic import make_catalogue
from coldstart.errors import InputError
from coldstart.files import (
    StrPath,
    atomic,
    atomic_folder,
    cache_folder,
    is_remote,
    local,
    reserved,
    write_json,
)
from coldstart.tables.table import write_table

SCHEMES = ["s3", "S3", "gs", "http", "https", "file", "hf", "abfs", "git+ssh"]
REFUSED = "x.csv: an address can't be written to; write to a local path"
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(["", "/", "./", "../", "C:/"]))
def test_ordinary_paths_are_not_refused(names: list[str], start: str) -> None:
    if start in ("", "./") and names[0].endswith(":"):  # as a Path, it would begin like an address
        names[0] += "x"
    path = start + "/".join(names)
    assert not is_remote(path)
    assert local(path) == local(Path(path)) == Path(path)


@pytest.mark.parametrize("path", ["C:\\data\\x", "c:/data", "a:b/c", "a/s3://b", "x:", "2:/a", "."])
def test_a_colon_makes_no_address(path: str) -> None:
    assert local(path) == Path(path)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(st.lists(NAMES, max_size=3))
def test_addresses_are_refused_as_text_and_as_path(scheme: str, names: list[str]) -> None:
    address = f"{scheme}://bucket/{'/'.join(names)}"
    for path in (address, Path(address)):
        assert is_remote(path)
        with pytest.raises(InputError) as error:
            local(path)
        assert str(error.value).startswith(f"{scheme}://bucket")


def write_with(writer: Callable[[StrPath], object]) -> Callable[[StrPath], None]:
    """A context manager as a function that writes."""

    def write(path: StrPath) -> None:
        with writer(path):  # type: ignore[attr-defined]
            pass

    return write


WRITERS: dict[str, Callable[[StrPath], object]] = {
    "atomic": write_with(atomic),
    "atomic_folder": write_with(atomic_folder),
    "write_json": lambda path: write_json(path, {}),
    "write_table": lambda path: write_table(path, pl.DataFrame({"a": [1]})),
    # What a long job needs is checked before it reads its input, which doesn't exist here.
    "split": lambda path: split("no.csv", out=path),
    "factorize": lambda path: factorize("no.csv", out=path),
    "new_encoder": lambda path: new_encoder("Poems", path),
    "make_catalogue": lambda path: make_catalogue(Path(path), tracks=20, users=5),
    "dataset": lambda path: dataset("fma", out=path, source="no"),
    "LOADERS": lambda path: LOADERS["fma"](out=path, source=[]),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("form", [str, Path])
def test_no_writer_writes_to_an_address(
    name: str, form: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^s3://bucket/{REFUSED}"):
        WRITERS[name](form("s3://bucket/x.csv"))
    assert not list(tmp_path.iterdir())


def test_a_verb_says_so_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["split", "tracks.csv", "--out", "gs://bucket/x.csv"]) == 2
    assert f"coldstart split: gs://bucket/{REFUSED}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_cache_lies_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDSTART_CACHE", "s3://bucket/x.csv")
    with pytest.raises(InputError, match=REFUSED):
        cache_folder()


def stop_in_the_middle_of(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "x.txt", tmp_path / "folder"
    path.write_text("old")
    folder.mkdir()
    (folder / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        stop_in_the_middle_of(temporary)
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder) as new:
        stop_in_the_middle_of(new / "b")
    assert path.read_text() == "old"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "folder", "x.txt"]
    with atomic_folder(folder) as new:
        (new / "b").write_text("whole")
    assert [path.name for path in folder.iterdir()] == ["b"]


def test_a_folder_is_reserved_once(tmp_path: Path) -> None:
    with reserved(tmp_path / "a", "taken"):
        with pytest.raises(InputError, match="taken"), reserved(tmp_path / "a", "taken"):
            pass
        with reserved(tmp_path / "b", "taken"):  # another folder
            (tmp_path / "b" / "x").touch()
        with pytest.raises(InputError, match="taken"), reserved(tmp_path / "a", "taken"):
            pass  # still
    with reserved(tmp_path / "b", "taken"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["b"]  # of a, nothing came
