"""Anything that the schema allows is answered as the schema says, and nothing by a 500."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis.openapi
from helpers import Fitted, copy_of
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def api(heard: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The schema of a service on a copy: what is allowed is also done."""
    run = copy_of(heard, tmp_path_factory.mktemp("api")).run
    app = make_app(ServiceSettings(str(run), watch=0))
    yield schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "localhost"})
    app.state.service.writer.close()


def test_every_answer_is_as_the_schema_says(api: Any) -> None:
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) > 12
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        def check(case: Any) -> None:
            case.call_and_validate(headers={"host": "localhost"}, checks=list(CHECKS))

        check()
