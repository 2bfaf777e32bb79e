"""`make fuzz` tries more examples of each property, on a suite of its own."""

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

SUITE = """
from hypothesis import given, settings, strategies as st
import pytest

@pytest.mark.parametrize("name", ["a", "b", "c"])
@settings(max_examples=4)
@given(value=st.integers())
def test_with_a_number(name, value):
    print("number", flush=True)

@given(value=st.integers())
def test_without(value):
    print("none", flush=True)
"""


@pytest.mark.parametrize(("times", "number", "none"), [("1", 3 * 4, 100), ("3", 3 * 12, 300)])
def test_each_property_is_tried_so_many_times(
    times: str, number: int, none: int, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(fuzz.__file__).parent}\n")
    (tmp_path / "conftest.py").write_text(
        "def pytest_configure(config):\n    config.pluginmanager.import_plugin('fuzz')\n"
    )
    (tmp_path / "test_it.py").write_text(SUITE)
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment = own | {"FUZZ": times, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-s"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.count("number"), done.stdout.count("none")) == (number, none)
