"""SHA-512 (FIPS 180-4, 5.3.5 and 6.4) in viper, for boards whose hashlib lacks it.

Import it through `heirloom.device.sha512` only: CPython cannot run viper.

Every 64-bit word is a pair of 32-bit halves, high first. A viper integer is a machine word, 32 bits
on the boards and 64 on the unix port; the same code is right on both because every sum is cut to
32 bits with a mask before it is compared or shifted right. (The mask is built from shifts by
less than 32: a viper constant has at most 30 bits, and what `1 << 32` gives differs by chip.)

Constants are read byte by byte: a word load needs alignment, which a bytes object that lies in
flash does not promise.
"""

import micropython
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    ptr8 = Any
    ptr32 = Any
    uint = Any

# FIPS 180-4, 4.2.3: 64 bits of the fractional parts of the cube roots of the first 80 primes.
_K = (
    b"\x42\x8a\x2f\x98\xd7\x28\xae\x22\x71\x37\x44\x91\x23\xef\x65\xcd\xb5\xc0\xfb\xcf\xec\x4d\x3b\x2f"
    b"\xe9\xb5\xdb\xa5\x81\x89\xdb\xbc\x39\x56\xc2\x5b\xf3\x48\xb5\x38\x59\xf1\x11\xf1\xb6\x05\xd0\x19"
    b"\x92\x3f\x82\xa4\xaf\x19\x4f\x9b\xab\x1c\x5e\xd5\xda\x6d\x81\x18\xd8\x07\xaa\x98\xa3\x03\x02\x42"
    b"\x12\x83\x5b\x01\x45\x70\x6f\xbe\x24\x31\x85\xbe\x4e\xe4\xb2\x8c\x55\x0c\x7d\xc3\xd5\xff\xb4\xe2"
    b"\x72\xbe\x5d\x74\xf2\x7b\x89\x6f\x80\xde\xb1\xfe\x3b\x16\x96\xb1\x9b\xdc\x06\xa7\x25\xc7\x12\x35"
    b"\xc1\x9b\xf1\x74\xcf\x69\x26\x94\xe4\x9b\x69\xc1\x9e\xf1\x4a\xd2\xef\xbe\x47\x86\x38\x4f\x25\xe3"
    b"\x0f\xc1\x9d\xc6\x8b\x8c\xd5\xb5\x24\x0c\xa1\xcc\x77\xac\x9c\x65\x2d\xe9\x2c\x6f\x59\x2b\x02\x75"
    b"\x4a\x74\x84\xaa\x6e\xa6\xe4\x83\x5c\xb0\xa9\xdc\xbd\x41\xfb\xd4\x76\xf9\x88\xda\x83\x11\x53\xb5"
    b"\x98\x3e\x51\x52\xee\x66\xdf\xab\xa8\x31\xc6\x6d\x2d\xb4\x32\x10\xb0\x03\x27\xc8\x98\xfb\x21\x3f"
    b"\xbf\x59\x7f\xc7\xbe\xef\x0e\xe4\xc6\xe0\x0b\xf3\x3d\xa8\x8f\xc2\xd5\xa7\x91\x47\x93\x0a\xa7\x25"
    b"\x06\xca\x63\x51\xe0\x03\x82\x6f\x14\x29\x29\x67\x0a\x0e\x6e\x70\x27\xb7\x0a\x85\x46\xd2\x2f\xfc"
    b"\x2e\x1b\x21\x38\x5c\x26\xc9\x26\x4d\x2c\x6d\xfc\x5a\xc4\x2a\xed\x53\x38\x0d\x13\x9d\x95\xb3\xdf"
    b"\x65\x0a\x73\x54\x8b\xaf\x63\xde\x76\x6a\x0a\xbb\x3c\x77\xb2\xa8\x81\xc2\xc9\x2e\x47\xed\xae\xe6"
    b"\x92\x72\x2c\x85\x14\x82\x35\x3b\xa2\xbf\xe8\xa1\x4c\xf1\x03\x64\xa8\x1a\x66\x4b\xbc\x42\x30\x01"
    b"\xc2\x4b\x8b\x70\xd0\xf8\x97\x91\xc7\x6c\x51\xa3\x06\x54\xbe\x30\xd1\x92\xe8\x19\xd6\xef\x52\x18"
    b"\xd6\x99\x06\x24\x55\x65\xa9\x10\xf4\x0e\x35\x85\x57\x71\x20\x2a\x10\x6a\xa0\x70\x32\xbb\xd1\xb8"
    b"\x19\xa4\xc1\x16\xb8\xd2\xd0\xc8\x1e\x37\x6c\x08\x51\x41\xab\x53\x27\x48\x77\x4c\xdf\x8e\xeb\x99"
    b"\x34\xb0\xbc\xb5\xe1\x9b\x48\xa8\x39\x1c\x0c\xb3\xc5\xc9\x5a\x63\x4e\xd8\xaa\x4a\xe3\x41\x8a\xcb"
    b"\x5b\x9c\xca\x4f\x77\x63\xe3\x73\x68\x2e\x6f\xf3\xd6\xb2\xb8\xa3\x74\x8f\x82\xee\x5d\xef\xb2\xfc"
    b"\x78\xa5\x63\x6f\x43\x17\x2f\x60\x84\xc8\x78\x14\xa1\xf0\xab\x72\x8c\xc7\x02\x08\x1a\x64\x39\xec"
    b"\x90\xbe\xff\xfa\x23\x63\x1e\x28\xa4\x50\x6c\xeb\xde\x82\xbd\xe9\xbe\xf9\xa3\xf7\xb2\xc6\x79\x15"
    b"\xc6\x71\x78\xf2\xe3\x72\x53\x2b\xca\x27\x3e\xce\xea\x26\x61\x9c\xd1\x86\xb8\xc7\x21\xc0\xc2\x07"
    b"\xea\xda\x7d\xd6\xcd\xe0\xeb\x1e\xf5\x7d\x4f\x7f\xee\x6e\xd1\x78\x06\xf0\x67\xaa\x72\x17\x6f\xba"
    b"\x0a\x63\x7d\xc5\xa2\xc8\x98\xa6\x11\x3f\x98\x04\xbe\xf9\x0d\xae\x1b\x71\x0b\x35\x13\x1c\x47\x1b"
    b"\x28\xdb\x77\xf5\x23\x04\x7d\x84\x32\xca\xab\x7b\x40\xc7\x24\x93\x3c\x9e\xbe\x0a\x15\xc9\xbe\xbc"
    b"\x43\x1d\x67\xc4\x9c\x10\x0d\x4c\x4c\xc5\xd4\xbe\xcb\x3e\x42\xb6\x59\x7f\x29\x9c\xfc\x65\x7e\x2a"
    b"\x5f\xcb\x6f\xab\x3a\xd6\xfa\xec\x6c\x44\x19\x8c\x4a\x47\x58\x17"
)
# FIPS 180-4, 5.3.5: the same of the square roots of the first 8 primes.
_INITIAL = (
    b"\x6a\x09\xe6\x67\xf3\xbc\xc9\x08\xbb\x67\xae\x85\x84\xca\xa7\x3b\x3c\x6e\xf3\x72\xfe\x94\xf8\x2b"
    b"\xa5\x4f\xf5\x3a\x5f\x1d\x36\xf1\x51\x0e\x52\x7f\xad\xe6\x82\xd1\x9b\x05\x68\x8c\x2b\x3e\x6c\x1f"
    b"\x1f\x83\xd9\xab\xfb\x41\xbd\x6b\x5b\xe0\xcd\x19\x13\x7e\x21\x79"
)

_BLOCK = const(128)  # bytes

# The scratch memory of one hash, as indices of 32-bit words (two for each 64-bit word).
_SCHEDULE = const(16)  # after the eight words of the hash value: sixteen of the message schedule
_A = const(48)  # working variable a, newest last: twenty words, of which four are from before
_E = const(88)  # working variable e, likewise
_SCRATCH = const(128 * 4)  # bytes


@micropython.viper
def _load(scratch: ptr32, first: int, data: ptr8, offset: int, words: int):
    """Read big-endian halves from `data` at `offset` into `scratch` from index `first`."""
    for i in range(words):
        p = offset + 4 * i
        scratch[first + i] = data[p] << 24 | data[p + 1] << 16 | data[p + 2] << 8 | data[p + 3]


@micropython.viper
def _extend(s: ptr32):
    """Replace the sixteen words of the message schedule by the next sixteen (FIPS 180-4, 6.4.2, 1)."""
    mask = uint(0xFFFF) << 16 | 0xFFFF
    for t in range(0, 32, 2):
        p = _SCHEDULE + (t + 2 & 31)
        h = uint(s[p])
        l = uint(s[p + 1])
        # sigma 0: rotate right 1, rotate right 8, shift right 7
        high = (h >> 1 ^ l << 31 ^ h >> 8 ^ l << 24 ^ h >> 7) & mask
        low = (l >> 1 ^ h << 31 ^ l >> 8 ^ h << 24 ^ l >> 7 ^ h << 25) & mask
        p = _SCHEDULE + (t + 28 & 31)
        h = uint(s[p])
        l = uint(s[p + 1])
        # sigma 1: rotate right 19, rotate right 61, shift right 6
        high += (h >> 19 ^ l << 13 ^ l >> 29 ^ h << 3 ^ h >> 6) & mask
        l = (l >> 19 ^ h << 13 ^ h >> 29 ^ l << 3 ^ l >> 6 ^ h << 26) & mask
        low = low + l & mask
        if low < l:
            high += 1
        p = _SCHEDULE + (t + 18 & 31)
        l = uint(s[p + 1])
        low = low + l & mask
        if low < l:
            high += 1
        high += uint(s[p])
        p = _SCHEDULE + t
        l = uint(s[p + 1])
        low = low + l & mask
        if low < l:
            high += 1
        s[p] = high + uint(s[p])
        s[p + 1] = low


@micropython.viper
def _rounds(s: ptr32, k: ptr8, first: int):
    """Sixteen rounds (FIPS 180-4, 6.4.2, 3), the first of them numbered `first`.

    The eight working variables never move: b, c, d are what a was one, two, three rounds ago, and
    f, g, h what e was.
    """
    mask = uint(0xFFFF) << 16 | 0xFFFF
    for t in range(0, 32, 2):
        p = _E + t
        # T1 = h + Sigma1(e) + Ch(e, f, g) + K + W
        high = uint(s[p])
        low = uint(s[p + 1])
        h = uint(s[p + 6])
        l = uint(s[p + 7])
        high += uint(s[p + 2]) ^ h & (uint(s[p + 4]) ^ uint(s[p + 2]))
        x = uint(s[p + 3]) ^ l & (uint(s[p + 5]) ^ uint(s[p + 3]))
        low = low + x & mask
        if low < x:
            high += 1
        # Sigma 1: rotate right 14, 18, 41
        high += (h >> 14 ^ l << 18 ^ h >> 18 ^ l << 14 ^ l >> 9 ^ h << 23) & mask
        x = (l >> 14 ^ h << 18 ^ l >> 18 ^ h << 14 ^ h >> 9 ^ l << 23) & mask
        low = low + x & mask
        if low < x:
            high += 1
        q = 8 * first + 4 * t
        high += uint(k[q] << 24 | k[q + 1] << 16 | k[q + 2] << 8 | k[q + 3])
        x = uint(k[q + 4] << 24 | k[q + 5] << 16 | k[q + 6] << 8 | k[q + 7]) & mask
        low = low + x & mask
        if low < x:
            high += 1
        x = uint(s[_SCHEDULE + t + 1])
        low = low + x & mask
        if low < x:
            high += 1
        high += uint(s[_SCHEDULE + t])
        # e = d + T1
        q = _A + t
        x = low + uint(s[q + 1]) & mask
        h = high + uint(s[q])
        if x < low:
            h += 1
        s[p + 8] = h
        s[p + 9] = x
        # a = T1 + Sigma0(a) + Maj(a, b, c)
        h = uint(s[q + 6])
        l = uint(s[q + 7])
        high += h & uint(s[q + 4]) | uint(s[q + 2]) & (h | uint(s[q + 4]))
        x = l & uint(s[q + 5]) | uint(s[q + 3]) & (l | uint(s[q + 5]))
        low = low + x & mask
        if low < x:
            high += 1
        # Sigma 0: rotate right 28, 34, 39
        high += h >> 28 ^ l << 4 ^ l >> 2 ^ h << 30 ^ l >> 7 ^ h << 25
        x = (l >> 28 ^ h << 4 ^ h >> 2 ^ l << 30 ^ h >> 7 ^ l << 25) & mask
        low = low + x & mask
        if low < x:
            high += 1
        s[q + 8] = high
        s[q + 9] = low


@micropython.viper
def _start(s: ptr32):
    """Set the working variables from the hash value (FIPS 180-4, 6.4.2, 2)."""
    for i in range(0, 8, 2):
        s[_A + i] = s[6 - i]
        s[_A + i + 1] = s[7 - i]
        s[_E + i] = s[14 - i]
        s[_E + i + 1] = s[15 - i]


@micropython.viper
def _carry_on(s: ptr32):
    """Move the newest four of a and e to where the next sixteen rounds look for them."""
    for i in range(8):
        s[_A + i] = s[_A + 32 + i]
        s[_E + i] = s[_E + 32 + i]


@micropython.viper
def _finish(s: ptr32):
    """Add the working variables to the hash value (FIPS 180-4, 6.4.2, 4)."""
    mask = uint(0xFFFF) << 16 | 0xFFFF
    for i in range(0, 16, 2):
        p = _A + 38 - i
        if i >= 8:
            p = _E + 46 - i
        x = uint(s[p + 1])
        low = uint(s[i + 1]) + x & mask
        high = uint(s[i]) + uint(s[p])
        if low < x:
            high += 1
        s[i] = high
        s[i + 1] = low


@micropython.viper
def _store(s: ptr32, out: ptr8):
    """Write the hash value, big-endian."""
    for i in range(16):
        x = s[i]
        for j in range(4):
            out[4 * i + j] = x >> 24 - 8 * j


class Sha512:
    """Like hashlib's: feed it with `update`, then ask for the `digest`."""

    def __init__(self) -> None:
        self._scratch = bytearray(_SCRATCH)
        _load(self._scratch, 0, _INITIAL, 0, 16)
        self._pending = bytearray(_BLOCK)
        self._view = memoryview(self._pending)
        self._length = 0  # bytes fed so far

    def update(self, data: "bytes | bytearray | memoryview") -> None:
        """Take the next bytes of the message."""
        length = len(data)
        used = self._length & (_BLOCK - 1)
        self._length += length
        position = 0
        if used:
            position = min(_BLOCK - used, length)
            self._view[used : used + position] = memoryview(data)[:position]
            if used + position < _BLOCK:
                return
            self._compress(self._pending, 0)
        while length - position >= _BLOCK:
            self._compress(data, position)
            position += _BLOCK
        if position < length:
            self._view[: length - position] = memoryview(data)[position:]

    def digest(self) -> bytes:
        """Pad the message (FIPS 180-4, 5.1.2) and return its 64 bytes of hash; only once."""
        bits = self._length * 8
        used = self._length & (_BLOCK - 1)
        self.update(b"\x80" + bytes((111 - used) % _BLOCK) + bits.to_bytes(16, "big"))
        out = bytearray(64)
        _store(self._scratch, out)
        return bytes(out)

    def _compress(self, data: "bytes | bytearray | memoryview", offset: int) -> None:
        """Hash one block of 128 bytes (FIPS 180-4, 6.4.2)."""
        scratch = self._scratch
        _load(scratch, _SCHEDULE, data, offset, 32)
        _start(scratch)
        _rounds(scratch, _K, 0)
        for first in range(16, 80, 16):
            _extend(scratch)
            _carry_on(scratch)
            _rounds(scratch, _K, first)
        _finish(scratch)
