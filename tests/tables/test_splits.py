import pytest
from helpers import Table

from coldstart.errors import InputError
from coldstart.tables.splits import read_ids, read_splits


def test_a_split_table_holds_each_track_once_on_a_known_side(table: Table) -> None:
    with pytest.raises(InputError, match="row 2, track 'b', field 'split': 'dev' is none of"):
        read_splits(table("track_id,split", "a,train", "b,dev"))
    with pytest.raises(InputError, match=r"row 2, track 'a'.* is there twice"):
        read_splits(table("track_id,split", "a,train", "a,test"))
    assert read_splits(table("split,track_id", "val,007")).rows() == [("007", "val")]


def test_ids_of_a_table_are_checked(table: Table) -> None:
    assert read_ids(table("track_id", "null", "007")) == ["null", "007"]
    with pytest.raises(InputError, match=r"row 2, .* is empty"):
        read_ids(table("track_id,x", "a,1", ",2"))
