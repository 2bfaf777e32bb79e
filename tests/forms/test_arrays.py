"""Arrays are read as they were written, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from coldstart.errors import InputError
from coldstart.forms.arrays import ArrayForm, read_arrays, write_arrays

NAMES = {"float32": "F32", "int64": "I64", "bool": "BOOL"}
ONE = st.sampled_from(sorted(NAMES)).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0))
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text("abc", min_size=1), ONE, min_size=1, max_size=3))
def test_arrays_are_read_as_they_were_written(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "x.safetensors"
    write_arrays(path, content)
    forms = {n: ArrayForm(NAMES[str(array.dtype)], array.shape) for n, array in content.items()}
    if all(np.isfinite(array).all() for array in content.values()):
        found = read_arrays(path, forms, {}, "write them again")
        assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in found.items()} == {
            n: (a.dtype, a.shape, a.tobytes()) for n, a in content.items()
        }
    else:
        with pytest.raises(InputError, match="no finite numbers; write them again"):
            read_arrays(path, forms, {}, "write them again")
    with pytest.raises(InputError, match="write them again"):
        read_arrays(path, forms | {"another": ArrayForm("F32", (1,))}, {}, "write them again")


def test_arrays_are_written_as_the_library_does(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    content = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array([True, False, True]),
        "é": np.arange(4),
        "none": np.empty((0, 3), np.int16),
    }
    write_arrays(path, content)
    assert path.read_bytes() == save(content)
    views = {"b": np.asfortranarray(content["b"].astype(">f4")), "é": np.arange(8)[::2] // 2}
    write_arrays(path, content | views)
    assert path.read_bytes() == save(content)


def test_whoever_may_read_the_folder_may_read_the_arrays(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.safetensors", {"a": np.ones(3)})
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
