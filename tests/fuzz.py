"""How many examples each property is tried with: a plugin of pytest, loaded by conftest.py."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

FUZZ = int(os.environ.get("FUZZ", "1"))
"""How many times as many examples as usual: `make fuzz`."""
# The same examples every time, so that what fails was broken by what was changed; `make fuzz` draws
# others.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile(
    "fuzz",
    max_examples=100 * FUZZ,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz" if FUZZ > 1 else "steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try more examples of properties with a number of their own, which no profile changes."""
    # Each property once, however many parameters it has: else they would multiply.
    for test in {getattr(item, "obj", None) for item in items} if FUZZ > 1 else ():
        _with_more_examples(test)


def _with_more_examples(test: Any) -> None:
    # Where hypothesis and its plugin for pytest keep a test's settings: no public way leads there.
    own = getattr(test, "_hypothesis_internal_use_settings", None)
    if own is not None and own.max_examples != 100 * FUZZ:
        test._hypothesis_internal_use_settings = settings(
            own,
            max_examples=own.max_examples * FUZZ,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
