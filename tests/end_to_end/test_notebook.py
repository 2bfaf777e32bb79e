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
    assert "600 tracks, 32 factors each" in printed
    assert printed.count("Recommendation(rank=3") == 3
    assert "ridge" in (tmp_path / "model" / "README.md").read_text()


def test_the_notebook_is_committed_as_it_ran() -> None:
    """Whoever only looks at it sees the tables and the picture, and nothing of our machine."""
    cells = [c for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert sum("<table" in output.get("data", {}).get("text/html", "") for output in outputs) == 3
    assert not any(output.output_type == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "/tmp" not in text
    assert len(text) < 200_000


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
