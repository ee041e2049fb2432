"""Which package a name means, and the kernel inside its image; nothing is fetched."""

import struct

import pyarrow as pa
import pytest

from ksmbench.errors import UsageError
from ksmbench.validate.apt import Package
from ksmbench.validate.bzimage import uncompressed
from ksmbench.validate.kernels import resolve

VERSIONS = {
    "linux-image-6.1.0-9-cloud-amd64": "6.1.190-1",
    "linux-image-6.1.0-56-cloud-amd64": "6.1.192-2",
    "linux-image-6.1.0-57-amd64": "6.1.193-1",
    "linux-image-6.12.9+deb13-cloud-amd64": "6.12.9-1",
    "linux-image-6.12.118+deb13-cloud-amd64": "6.12.118-1",
    "linux-image-7.2.13+deb14-cloud-amd64": "7.2.13-1",
    "linux-image-7.3-cloud-amd64": "7.3~rc7-1~exp1",
    "linux-binary-7.2.13+deb14-cloud-amd64": "7.2.13-1",
}
PACKAGES = {name: Package(name, version, ()) for name, version in VERSIONS.items()}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("6.1", "6.1.192-2"),
        ("6.12", "6.12.118-1"),
        ("6.12.9", "6.12.9-1"),
        ("6.x", "6.12.118-1"),
        ("7.x", "7.3~rc7-1~exp1"),
        ("7.2", "7.2.13-1"),
        ("7", "7.3~rc7-1~exp1"),
        ("linux-image-6.1.0-57-amd64", "6.1.193-1"),
    ],
)
def test_a_series_means_its_newest_package(name: str, version: str) -> None:
    assert resolve(name, PACKAGES).version == version


@pytest.mark.parametrize("name", ["6.2", "6.11", "5.x", "linux-image-amd64", "", "x", "6.1.*"])
def test_what_the_archive_lacks_is_said(name: str) -> None:
    with pytest.raises(UsageError, match=r"no kernel .* here; it has packages of the series 6\.1, 6\.12, 7\.2, 7\.3$"):
        resolve(name, PACKAGES)


def test_a_release_comes_after_its_candidates() -> None:
    packages = PACKAGES | {"linux-image-7.3.0-cloud-amd64": Package("linux-image-7.3.0-cloud-amd64", "7.3-1", ())}
    assert resolve("7.3", packages).version == "7.3-1"


def image(payload: bytes, size: int) -> bytes:
    # One setup sector, then the code, with the payload 100 bytes into it.
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 100, len(payload) + 4)
    return bytes(head) + bytes(100) + payload + struct.pack("<I", size) + b"rest"


def lz4_blocks(data: bytes) -> bytes:
    blocks = (data[at : at + (8 << 20)] for at in range(0, len(data), 8 << 20))
    packed = (pa.Codec("lz4_raw").compress(block, asbytes=True) for block in blocks)
    return bytes.fromhex("02214c18") + b"".join(struct.pack("<I", len(block)) + block for block in packed)


def test_the_kernel_inside_an_image() -> None:
    kernel = b"\x7fELF" + bytes(range(256)) * 70_000  # more than two of lz4's blocks
    assert uncompressed(image(pa.Codec("zstd").compress(kernel, asbytes=True), len(kernel))) == kernel
    assert uncompressed(image(lz4_blocks(kernel), len(kernel))) == kernel
    assert uncompressed(image(b"\xfd7zXZ" + bytes(100), 1000)) is None
    assert uncompressed(kernel) is None
