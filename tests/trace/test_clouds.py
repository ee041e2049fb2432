"""Traces from s3:// and gs://, out of servers on this machine that speak the clouds' protocols (moto, an emulator)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import ksmbench
from ksmbench.errors import TraceError
from ksmbench.trace.store import open_trace, write_trace
from tests.report.synthetic import synthetic_trace

NO_CLOUDS = "the clouds' packages and servers are not installed: pip install -r requirements-dev.txt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of 100 pages over 3 s."""
    path = tmp_path_factory.mktemp("clouds") / "small"
    write_trace(synthetic_trace(2, 100, 3), path)
    return path


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    """Variables of this module's tests, which the processes of a sweep see too."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def s3(folder: Path, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """The trace in a bucket; the variables are those by which people name a server that is not Amazon's."""
    servers = pytest.importorskip("moto.server", reason=NO_CLOUDS)
    s3fs = pytest.importorskip("s3fs", reason=NO_CLOUDS)
    server = servers.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        environment.setenv(name, value)
    store = s3fs.S3FileSystem()
    store.mkdir("traces")
    store.put(f"{folder}/", "traces/small/", recursive=True)
    yield "s3://traces/small"
    server.stop()


@pytest.fixture(scope="module")
def gs(folder: Path, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """The same in a bucket of Google's."""
    servers = pytest.importorskip("gcp_storage_emulator.server", reason=NO_CLOUDS)
    environment.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks by gRPC, which the emulator does not speak
    gcsfs = pytest.importorskip("gcsfs", reason=NO_CLOUDS)
    server = servers.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    environment.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server._api._httpd.server_address[1]}")
    environment.setenv("FSSPEC_GS_TOKEN", "anon")
    store = gcsfs.GCSFileSystem()
    store.mkdir("traces")
    store.put(f"{folder}/", "traces/small/", recursive=True)
    yield "gs://traces/small"
    server.stop()


@pytest.mark.parametrize("cloud", ["s3", "gs"])
def test_a_trace_from_a_cloud_is_the_same(cloud: str, folder: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(cloud)
    near, far = open_trace(folder), open_trace(url)
    assert far.url == url
    assert all((a == b).all() for a, b in zip(near.events, far.events, strict=True))
    found = ksmbench.sweep([url], vary={"pages_to_scan": [100, 200]}, jobs=1)  # its process fetches it for itself
    assert found.paths == {"small": url}
    assert found.samples.equals(ksmbench.sweep([folder], vary={"pages_to_scan": [100, 200]}, jobs=1).samples)


@pytest.mark.parametrize("cloud", ["s3", "gs"])
def test_what_is_not_in_a_cloud_is_told(cloud: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(cloud)
    for place in ("traces/other", "nowhere/small"):
        with pytest.raises(TraceError, match=f"{cloud}://{place}: ") as caught:
            open_trace(f"{cloud}://{place}")
        assert "\n" not in str(caught.value)
