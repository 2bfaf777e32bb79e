"""A test suite leaves nothing in the working tree: at a session's end it is compared with before.

A plugin of pytest, loaded by conftest.py. New files fail the session, those that git ignores too
(`runs/`, `wandb/`, …); caches are passed over. Nothing is compared where there is no git.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

CACHES = {
    ".venv",
    "__pycache__",
    ".pytest_cache",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
    ".coverage",
}
"""Names of folders and files that tools keep in a working tree on purpose."""
BEFORE = pytest.StashKey[set[str] | None]()
LEFT = pytest.StashKey[list[str]]()


def files_outside_git(root: Path) -> set[str] | None:
    """Files that git doesn't track, ignored or not, without caches; None without git."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    skipped = [f":(exclude,glob)**/{name}/**" for name in CACHES]
    command = [git, "-C", str(root), "ls-files", "--others", "-z", "--", ".", *skipped]
    listing = subprocess.run(command, capture_output=True)
    if listing.returncode != 0:
        return None
    names = listing.stdout.decode("utf-8", "surrogateescape").split("\0")
    return {name for name in names if name and CACHES.isdisjoint(Path(name).parts)}


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of pytest-xdist: its controller alone compares."""
    return hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not _is_worker(session.config) and not session.config.option.collectonly:
        session.config.stash[BEFORE] = files_outside_git(session.config.rootpath)


@pytest.hookimpl(trylast=True)  # after pytest-xdist has ended its workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(BEFORE, None)
    after = None if before is None else files_outside_git(session.config.rootpath)
    if before is None or after is None or after <= before:
        return
    session.config.stash[LEFT] = sorted(after - before)
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    left = config.stash.get(LEFT, [])
    if not left:
        return
    terminalreporter.section("files left in the working tree", red=True, bold=True)
    for name in left[:20]:
        terminalreporter.line(name)
    if len(left) > 20:
        terminalreporter.line(f"and {len(left) - 20} more")
    terminalreporter.line(
        "New since the session began: a test wrote to the current folder or beside its sources, "
        "and must write to tmp_path. (A file of yours from meanwhile? Run the tests again.)"
    )
