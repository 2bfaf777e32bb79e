"""The example notebook, and the page on notebooks, run as they are."""

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from helpers import ROOT, World

import coldstart as cs

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "300 tracks, 16 factors each" in printed
    assert printed.count("Recommendation(rank=3") == 3
    assert "ridge" in (tmp_path / "model" / "README.md").read_text()


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_page_on_notebooks_runs(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("shards", "factors"):
        (tmp_path / name).symlink_to(getattr(tiny_world, name))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    names: dict[str, Any] = {}
    exec(compile(code, "docs/notebooks.md", "exec"), names)
    assert isinstance(names["model"], cs.ColdStart)
    assert len(names["found"]) > 0
