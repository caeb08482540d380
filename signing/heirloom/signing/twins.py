"""The compressed twin `NAME.z` that lies beside each metadata file, so that any static host serves small devices."""

import zlib

SUFFIX = ".z"
# A device inflates with a window of 1 KiB in 2.5 KB of heap; the default window takes 34 KB.
WINDOW_BITS = 10


def twin(data: bytes) -> bytes:
    """`data` as a zlib stream whose window is at most 1 KiB."""
    compressor = zlib.compressobj(level=9, wbits=WINDOW_BITS)
    return compressor.compress(data) + compressor.flush()
