"""A store that speaks S3, empty for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from addresses.store import BUCKET, Store

from coldstart.addresses import transfer


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    pytest.importorskip("s3fs", reason="needs the extra `s3`")
    threaded = pytest.importorskip("moto.server", reason="needs moto[server]")
    server = threaded.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def store(s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    import s3fs

    store = Store(s3_port)
    settings = {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nothing is asked of other machines, and no credentials of this one are used.
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        # botocore's own tries, behind which ours would not be seen.
        "AWS_MAX_ATTEMPTS": "1",
        "COLDSTART_CACHE": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # s3fs's own tries, which take seconds.
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.02, 0.04))
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    store.control("reset")
    s3fs.S3FileSystem.clear_instance_cache()
    store.files.mkdir(BUCKET)
    store.asked.clear()
    yield store
    s3fs.S3FileSystem.clear_instance_cache()
    store.close()
    # An address that were taken for a path would make a folder `s3:` in the current one.
    assert not list((tmp_path / "current").iterdir())
