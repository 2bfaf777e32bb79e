"""Entry points: found, listed, and explained when something is wrong."""

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from coldstart import registry
from coldstart.cli import main
from coldstart.commands.plugins import plugins
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
        for name, claims in registry.discover(kind).items():
            assert registry.load(kind, name).__name__ == name
            assert [type(point) for point in claims] == [EntryPoint]


def test_the_built_in_ones_are_there() -> None:
    assert set(registry.discover("encoders")) >= {"Audio", "MGP", "MachineListened", "Genres"}
    assert "Concat" in registry.discover("fusion")
    assert set(registry.discover("targets")) >= {"TrackFactors", "Attributes"}


def test_a_typo_lists_the_choices_and_suggests() -> None:
    with pytest.raises(InputError, match=r"Audio, .*Genres.*Did you mean 'Genres'"):
        registry.load("encoders", "Genre")


def test_another_package_s_encoder_is_found(outsider: Path) -> None:
    code = "from coldstart.encoders.genres import Genres\nclass Moods(Genres):\n    'Moods.'\n"
    install(outsider, "moody", "Moods = moody:Moods", code)
    assert registry.load("encoders", "Moods").__name__ == "Moods"
    made = registry.create("encoders", {"class": "Moods", "init_args": {"hidden": (3,)}})
    assert made.init_args["hidden"] == (3,)


def test_a_broken_plugin_is_listed_with_its_reason_and_the_others_go_on(
    outsider: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    install(outsider, "broken", "Poems = broken:Poems", "import there_is_no_such_module")
    registry.load_all()
    assert re.search("Poems.*there_is_no_such_module.*not available", caplog.text)
    rows = {row.name: row for row in plugins()}
    assert "there_is_no_such_module" in rows["Poems"].status
    assert (rows["Poems"].distribution, rows["Poems"].version) == ("broken", "1.0")
    assert rows["MGP"].status == "ok"
    assert "Poems" in capsys.readouterr().out
    with pytest.raises(InputError, match="fails to import"):
        registry.load("encoders", "Poems")


def test_the_usable_ones_are_without_the_broken_one_of_which_is_told_once(
    outsider: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(outsider, "versed", "Verses = versed:Verses", "raise OSError('no 100% rhyme')")
    assert registry.usable("encoders").keys() == registry.discover("encoders").keys() - {"Verses"}
    assert registry.usable("encoders")["MGP"] is registry.load("encoders", "MGP")
    (told,) = [line for line in caplog.messages if "Verses" in line]
    assert told == (
        "the encoders plugin 'Verses' of versed 1.0 fails to import: OSError('no 100% rhyme'); "
        "this plugin is not available"
    )


def test_two_packages_that_claim_one_name_are_both_named(
    outsider: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from coldstart.encoders.genres import Genres\nclass Poems(Genres):\n    'Poems.'\n"
    install(outsider, "first", "Poems = first:Poems", code)
    install(outsider, "second", "Poems = second:Poems", code)
    with pytest.raises(InputError, match=r"(first 1\.0.*second 1|second 1\.0.*first 1)"):
        registry.load("encoders", "Poems")
    claims = [row for row in plugins() if row.name == "Poems"]
    assert {row.distribution for row in claims} == {"first", "second"}
    assert all("uninstall one" in row.status for row in claims)
    monkeypatch.setenv(registry.ONLY, "Second")
    assert registry.load("encoders", "Poems").__module__ == "second"


def test_an_environment_variable_limits_whose_plugins_load(
    outsider: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from coldstart.encoders.genres import Genres\nclass Moods(Genres):\n    'Moods.'\n"
    install(outsider, "moody", "Moods = moody:Moods", code)
    monkeypatch.setenv(registry.ONLY, "")
    assert "Moods" not in registry.discover("encoders")
    assert "MGP" in registry.discover("encoders")
    monkeypatch.setenv(registry.ONLY, "somebody-else")
    with pytest.raises(InputError, match=r"COLDSTART_PLUGINS=somebody-else leaves"):
        registry.load("encoders", "Moods")


@pytest.mark.parametrize(
    ("says", "message"),
    [("", "doesn't say for which version"), ("    interface = 99\n", "was written for version 99")],
)
def test_a_plugin_of_another_interface_is_refused(outsider: Path, says: str, message: str) -> None:
    code = f"from coldstart.encoders.base import Encoder\nclass Odd(Encoder):\n    'Odd.'\n{says}"
    install(outsider, "odd", "Odd = odd:Odd", code)
    with pytest.raises(InputError, match=rf"'Odd' of odd 1\.0 {message}.*has version 1"):
        registry.load("encoders", "Odd")


def test_a_full_path_in_a_config_obeys_the_same_rules(
    outsider: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from coldstart.encoders.genres import Genres\nclass Moods(Genres):\n    'Moods.'\n"
    install(outsider, "moody", "Moods = moody:Moods", code)
    (outsider / "notmoody.py").write_text(code)  # no plugin, of a plugin's name
    args = ["fit", "--run", str(outsider / "run"), "--config", str(outsider / "c.yaml")]

    def said(encoder: str) -> str:
        text = f"model: {{encoders: {{a: {{class_path: {encoder}}}}}}}\ndata: {{shards: none}}"
        (outsider / "c.yaml").write_text(text)
        assert main(args) == 2
        return capsys.readouterr().err

    assert "dataset.json is missing" in said("moody.Moods")
    assert "notmoody.Moods is not the encoders plugin of that name" in said("notmoody.Moods")
    monkeypatch.setenv(registry.ONLY, "")
    assert "COLDSTART_PLUGINS= leaves" in said("moody.Moods")
