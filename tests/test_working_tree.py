"""The check that the suite leaves nothing behind, on a suite of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import working_tree

SUITE = """
from pathlib import Path

import pytest

@pytest.mark.parametrize("name", {names})
def test_it(name):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("x")
"""
LEFT = ["http:/127.0.0.1/dataset.json", "runs/1/last.ckpt"]
CACHES = ["a/__pycache__/x.pyc", ".hypothesis/x", ".venv/lib/x.py", ".coverage"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that ignores runs/, and whose suite is checked as ours is."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / ".gitignore").write_text("runs/\n")
    (root / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {Path(working_tree.__file__).parent}\n"
    )
    (root / "conftest.py").write_text(
        "def pytest_configure(config):\n    config.pluginmanager.import_plugin('working_tree')\n"
    )
    (root / "old.txt").write_text("not tracked, but older than the session")
    (root / "test_it.py").write_text(SUITE.format(names=LEFT + CACHES))
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def run_suite(root: Path, *options: str) -> tuple[int, str]:
    """Run the suite of `root`: its exit status and output."""
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", *options]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n", "2"]])
def test_new_files_fail_the_session_and_are_named(options: list[str], tree: Path) -> None:
    status, output = run_suite(tree, *options)
    assert status == 1
    assert f"{len(LEFT + CACHES)} passed" in output
    for name in LEFT:
        assert output.count(f"\n{name}\n") == 1
    for name in ["old.txt", *CACHES]:
        assert name not in output
    # What an earlier session left isn't this one's.
    status, output = run_suite(tree, *options)
    assert (status, LEFT[0] in output) == (0, False)


def test_without_git_nothing_is_compared(tree: Path) -> None:
    assert working_tree.files_outside_git(tree) is not None
    (tree / ".git").rename(tree.parent / "elsewhere")
    assert working_tree.files_outside_git(tree) is None
    assert run_suite(tree)[0] == 0
