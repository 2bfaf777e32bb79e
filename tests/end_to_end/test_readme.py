"""The README's commands run, in its order, on the tiny world's tables."""

import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from helpers import ROOT, World

from coldstart.cli import VERBS, main


def test_the_readme_s_commands_run(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tracks.parquet", "listens.parquet", "mgp.parquet", "audio"):
        (tmp_path / name).symlink_to(tiny_world.catalogue / name)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(coldstart split.*?)```", text, re.DOTALL)
    for line in block.strip().splitlines():
        assert main(line.split()[1:]) == 0, line


def test_the_readme_and_the_help_name_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    shown = capsys.readouterr().out
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"  {verb} " in shown
        assert f"`{verb}`" in text


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("plugins",)])
def test_every_verb_explains_its_arguments(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "--" in capsys.readouterr().out


def test_the_version_names_what_a_report_of_a_fault_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--version"]) == 0
    (own,) = capsys.readouterr().out.splitlines()
    assert main(["--version", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == own
    assert f"torch {metadata.version('torch')}" in lines
    assert f"Python {platform.python_version()}" in lines


def test_links_between_documents_lead_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for document in documents:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name} → {link}"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m coldstart plugins | head -c 1"
    said = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "n", "")
