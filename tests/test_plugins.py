"""Entry points: found, listed, and explained when something is wrong."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from coldstart import registry
from coldstart.errors import InputError


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path where a test installs a distribution of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, points: str, code: str = "") -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[coldstart.encoders]\n{points}\n")
    (folder / f"{name}.py").write_text(code)
    sys.modules.pop(name, None)


def test_an_entry_point_is_named_as_its_class() -> None:
    for kind in registry.KINDS:
        for name, point in registry.discover(kind).items():
            assert registry.load(kind, name).__name__ == name
            assert isinstance(point, EntryPoint)


def test_the_built_in_ones_are_there() -> None:
    assert set(registry.discover("encoders")) >= {"Audio", "MGP", "MachineListened", "Genres"}
    assert "Concat" in registry.discover("fusion")
    assert set(registry.discover("targets")) >= {"TrackFactors", "Attributes"}


def test_a_typo_lists_the_choices_and_suggests() -> None:
    with pytest.raises(InputError, match=r"Audio, Genres.*Did you mean 'Genres'"):
        registry.load("encoders", "Genre")


def test_another_package_s_encoder_is_found(outsider: Path) -> None:
    code = "from coldstart.encoders.genres import Genres\nclass Moods(Genres):\n    'Moods.'\n"
    install(outsider, "moody", "Moods = moody:Moods", code)
    assert registry.load("encoders", "Moods").__name__ == "Moods"
    assert registry.create("encoders", {"class": "Moods", "init_args": {"hidden": (3,)}}).dim == 3


def test_a_broken_plugin_is_listed_with_its_reason_and_the_others_go_on(
    outsider: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(outsider, "broken", "Poems = broken:Poems", "import there_is_no_such_module")
    with pytest.warns(UserWarning, match=r"Poems.*there_is_no_such_module.*going on"):
        registry.load_all()
    rows = {row.name: row for row in registry.plugins()}
    assert "there_is_no_such_module" in rows["Poems"].status
    assert rows["Poems"].distribution == "broken 1.0"
    assert rows["MGP"].status == "ok"
    assert "Poems" in capsys.readouterr().out
    with pytest.raises(InputError, match="fails to import"):
        registry.load("encoders", "Poems")


def test_two_packages_that_claim_one_name_are_both_named(outsider: Path) -> None:
    install(outsider, "first", "Poems = first:Poems")
    install(outsider, "second", "Poems = second:Poems")
    with pytest.raises(InputError, match=r"(first.*second|second.*first)"):
        registry.discover("encoders")
