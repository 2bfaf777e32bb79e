"""What is installed beside our own code: exact versions, and whether faults of them are known."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from helpers import ROOT

CONSTRAINTS = ROOT / "constraints.txt"

TOLERATED: dict[str, str] = {}
"""Number of a known fault → why it does no harm here."""


def test_every_version_is_exact_and_has_no_address() -> None:
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)] == []
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines]
    assert len(set(names)) == len(names)


def faults(report: dict[str, Any]) -> list[str]:
    """Of a report of pip-audit: package, version, number and the version that mends it."""
    return [
        f"{package['name']} {package['version']}: {fault['id']}, mended in "
        f"{', '.join(fault['fix_versions']) or 'no version'}"
        for package in report["dependencies"]
        for fault in package.get("vulns", ())
        if not {fault["id"], *fault.get("aliases", ())} & TOLERATED.keys()
    ]


def test_a_known_fault_is_named() -> None:
    fault = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}
    report = {"dependencies": [{"name": "a", "version": "1.0", "vulns": [fault]}]}
    assert faults(report) == ["a 1.0: PYSEC-1, mended in 1.1"]


def test_no_version_has_a_known_fault() -> None:
    command = ["-r", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner=off"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *command, "--timeout=20", "-f", "json"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        pytest.skip("NOT AUDITED: pip-audit can't reach its data of known faults from here")
    assert not faults(report), "\n".join(faults(report))
    unknown = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
    if unknown:
        pytest.skip(
            f"NOT AUDITED: {len(unknown)} of {len(report['dependencies'])} packages, such as "
            f"{unknown[0]}: their data of known faults can't be reached from here"
        )
