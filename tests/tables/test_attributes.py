import polars as pl
import pytest
from helpers import Table

from coldstart.errors import Broken, InputError
from coldstart.tables.attributes import read_attributes


@pytest.mark.parametrize("cell", ["nan", "-inf", "", "high", "1e300"])
def test_an_attribute_that_is_no_usable_number_is_named(table: Table, cell: str) -> None:
    path = table("track_id,happy,loud", "a,1,0.5", f"b,0,{cell}")
    with pytest.raises(InputError, match=r"table\.csv, row 2, track 'b', field 'loud'"):
        read_attributes(path)
    assert read_attributes(path, Broken(skip=True))["track_id"].to_list() == ["a"]


def test_attributes_keep_their_order_and_become_float32(table: Table) -> None:
    got = read_attributes(table("z,track_id,a", "1,x,2", "3,y,4"))
    assert got.columns == ["track_id", "z", "a"]
    assert got.schema["z"] == pl.Float32
    assert got.rows() == [("x", 1.0, 2.0), ("y", 3.0, 4.0)]


def test_attribute_tables_need_an_attribute_and_one_row_a_track(table: Table) -> None:
    with pytest.raises(InputError, match="no attribute column"):
        read_attributes(table("track_id", "a"))
    with pytest.raises(InputError, match=r"row 2, track 'a'.* is there twice"):
        read_attributes(table("track_id,x", "a,1", "a,2"))
    with pytest.raises(InputError, match="two columns 'x'"):
        read_attributes(table("track_id,x,x", "a,1,2"))
