"""The kernel inside a compressed image (bzImage).

An emulated processor takes seconds to decompress it at every boot; here it is done once. QEMU starts the result, an
ELF file, through its PVH entry.
"""

import struct

import pyarrow as pa

# The header of the x86 boot protocol.
_SETUP_SECTORS = 0x1F1
_MAGIC = b"HdrS"
_MAGIC_AT = 0x202
_PAYLOAD = struct.Struct("<II")  # offset from the code after the setup sectors, length
_PAYLOAD_AT = 0x248
_SIZE = struct.Struct("<I")  # the payload's last four bytes: its size when decompressed
_ZSTD = bytes.fromhex("28b52ffd")
_LZ4_LEGACY = bytes.fromhex("02214c18")
_LZ4_BLOCK = 8 << 20


def uncompressed(image: bytes) -> bytes | None:
    """The ELF file in `image`, or None where it is compressed in a way not known here."""
    if not image.startswith(_MAGIC, _MAGIC_AT):
        return None
    start = ((image[_SETUP_SECTORS] or 4) + 1) * 512
    offset, length = _PAYLOAD.unpack_from(image, _PAYLOAD_AT)
    payload = image[start + offset : start + offset + length]
    packed, size = payload[: -_SIZE.size], _SIZE.unpack(payload[-_SIZE.size :])[0]
    if packed.startswith(_ZSTD):
        return _decompressed("zstd", packed, size)
    if packed.startswith(_LZ4_LEGACY):
        return _lz4(packed, size)
    return None


def _decompressed(codec: str, packed: bytes, size: int) -> bytes:
    return bytes(pa.Codec(codec).decompress(packed, decompressed_size=size, asbytes=True))


def _lz4(packed: bytes, size: int) -> bytes:
    # Blocks of 8 MiB, the last one shorter, each after its packed length.
    parts, at = [], len(_LZ4_LEGACY)
    while size > 0:
        (length,) = _SIZE.unpack_from(packed, at)
        at += _SIZE.size
        parts.append(_decompressed("lz4_raw", packed[at : at + length], min(size, _LZ4_BLOCK)))
        at += length
        size -= _LZ4_BLOCK
    return b"".join(parts)
