"""The Taste Profile, in its original format."""

from pathlib import Path

from originals import UNIQUE, Made, zipped


def test_taste_profile(made: Made, tmp_path: Path) -> None:
    triplets = "u1\tSOA\t1\nu1\tSOB\t3\nu2\tSOA\t2\nu2\tSOD\t5\n"
    folder = tmp_path / "msd"
    folder.mkdir()
    zipped(folder / "train_triplets.txt.zip", {"train_triplets.txt": triplets})
    (folder / "unique_tracks.txt").write_text(UNIQUE)
    (folder / "sid_mismatches.txt").write_text("ERROR: <SODXX TRX> a  -  b  !=  c  -  d\n")
    got = made("taste-profile", folder)
    assert got["listens"].rows() == [
        *[("u1", "SOA", 1), ("u1", "SOB", 3), ("u2", "SOA", 2), ("u2", "SOD", 5)]
    ]
    assert got["tracks"].rows() == [
        ("SOA", "Silent Night", "Faster Pussy cat", "TRA"),
        ("SOB", "SOB", "Beyoncé", "TRB"),
        ("SOD", "Match", "Wrong", "TRD"),
    ]
    (folder / "sid_mismatches.txt").write_text("ERROR: <SOD TRD> Wrong  -  Match  !=  c  -  d\n")
    assert made("taste-profile", folder)["tracks"]["track_id"].to_list() == ["SOA", "SOB"]
    assert len(made("taste-profile", folder, mismatches=True)["tracks"]) == 3
    assert made("taste-profile", folder, min_listeners=2)["listens"].rows() == [
        *[("u1", "SOA", 1), ("u2", "SOA", 2)]
    ]
