"""SHA-512 (FIPS 180-4, 5.3.5 and 6.4) in viper, for boards whose hashlib lacks it.

Import it through `heirloom.device.sha512` only: CPython cannot run viper.

Every 64-bit word is a pair of 32-bit halves, high first. A viper integer is a machine word, 32 bits
on the boards and 64 on the unix port, and the same code is right on both: a carry out of 32 bits shows either as a sum
that is less than what was added, or in the bits above. Shifts are by less than 32, because what `1 << 32` gives differs
from chip to chip; the mask is built because a viper constant has at most 30 bits.

Constants are read byte by byte: a word load needs alignment, which a bytes object that lies in
flash does not promise.
"""

# mypy: disable-error-code="return"
# Viper knows no `-> None`.

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
# FIPS 180-4, 5.3.5: the same of the square roots of the first 8 primes, in the order d, c, b, a, h, g, f, e.
_INITIAL = (
    b"\xa5\x4f\xf5\x3a\x5f\x1d\x36\xf1\x3c\x6e\xf3\x72\xfe\x94\xf8\x2b\xbb\x67\xae\x85\x84\xca\xa7\x3b"
    b"\x6a\x09\xe6\x67\xf3\xbc\xc9\x08\x5b\xe0\xcd\x19\x13\x7e\x21\x79\x1f\x83\xd9\xab\xfb\x41\xbd\x6b"
    b"\x9b\x05\x68\x8c\x2b\x3e\x6c\x1f\x51\x0e\x52\x7f\xad\xe6\x82\xd1"
)

_BLOCK = const(128)  # bytes

# The scratch memory of one hash, as indices of 32-bit words (two for each 64-bit word).
_WORKING = const(16)  # the eight working variables, after the eight words of the hash value
_SCHEDULE = const(32)  # the eighty words of the message schedule
_SCRATCH = const(192 * 4)  # bytes

# The first three variables of a viper function live in registers: so some arguments are only variables.


@micropython.viper
def _schedule(s: ptr32, low: uint, x: uint, data: ptr8, offset: int) -> object:
    """Prepare the message schedule for the block of `data` at `offset` (FIPS 180-4, 6.4.2, 1).

    The sums of each word are done for the low half (i = 1), then with their carry for the high half (i = 0), where
    nothing more is carried.
    """
    mask = uint(0xFFFF) << 16 | 0xFFFF
    for i in range(32):
        p = offset + 4 * i
        s[_SCHEDULE + i] = data[p] << 24 | data[p + 1] << 16 | data[p + 2] << 8 | data[p + 3]
    for w in range(_SCHEDULE, _SCHEDULE + 128, 2):
        carry = uint(0)
        for i in range(1, -1, -1):
            p = w + i
            q = w + 1 - i  # the other half
            low = uint(s[p]) + carry
            x = uint(s[p + 18])
            low += x
            carry = uint(low < x)
            m = uint(s[p + 2])
            n = uint(s[q + 2])
            # sigma 0: rotate right 1, rotate right 8, shift right 7
            x = m >> 1 ^ n << 31 ^ m >> 8 ^ n << 24 ^ m >> 7
            if i:
                x ^= n << 25
            x &= mask
            low += x
            carry += uint(low < x)
            m = uint(s[p + 28])
            n = uint(s[q + 28])
            # sigma 1: rotate right 19, rotate right 61, shift right 6
            x = m >> 19 ^ n << 13 ^ n >> 29 ^ m << 3 ^ m >> 6
            if i:
                x ^= n << 26
            x &= mask
            low += x
            carry += uint(low < x) + (low >> 16 >> 16)
            s[p + 32] = low


@micropython.viper
def _rounds(s: ptr32, low: uint, x: uint, k: ptr8) -> object:
    """The eighty rounds (FIPS 180-4, 6.4.2, 3), halves as above.

    Working variables never move: in round t the oldest of a, b, c, d (and of e, f, g, h) lies in place t mod 4,
    and the new one replaces it.
    """
    mask = uint(0xFFFF) << 16 | 0xFFFF
    for t in range(0, 160, 2):
        t_carry = uint(0)
        e_carry = uint(0)
        a_carry = uint(0)
        for i in range(1, -1, -1):
            d = _WORKING + (t & 6) + i
            c = _WORKING + (t + 2 & 6) + i
            b = _WORKING + (t + 4 & 6) + i
            a = _WORKING + (t + 6 & 6) + i
            # The sum T1: W, K, h, Ch(e, f, g), Sigma1(e).
            p = t + i
            low = uint(s[_SCHEDULE + p]) + t_carry
            p = 4 * p
            x = uint(k[p] << 24 | k[p + 1] << 16 | k[p + 2] << 8 | k[p + 3]) & mask
            low += x
            t_carry = uint(low < x)
            x = uint(s[d + 8])
            low += x
            t_carry += uint(low < x)
            m = uint(s[a + 8])
            x = uint(s[c + 8])
            x ^= m & (x ^ uint(s[b + 8]))
            low += x
            t_carry += uint(low < x)
            n = uint(s[a + 9 - i - i])
            # Sigma 1: rotate right 14, 18, 41
            x = (m >> 14 ^ n << 18 ^ m >> 18 ^ n << 14 ^ n >> 9 ^ m << 23) & mask
            low += x
            t_carry += uint(low < x) + (low >> 16 >> 16)
            low &= mask
            # The new e: T1 and d.
            x = low + e_carry
            n = uint(s[d])
            x += n
            e_carry = uint(x < n) + (x >> 16 >> 16)
            s[d + 8] = x
            # The new a: T1, Maj(a, b, c), Sigma0(a).
            low += a_carry
            m = uint(s[a])
            n = uint(s[b])
            x = m & n | uint(s[c]) & (m | n)
            low += x
            a_carry = uint(low < x)
            n = uint(s[a + 1 - i - i])
            # Sigma 0: rotate right 28, 34, 39
            x = (m >> 28 ^ n << 4 ^ n >> 2 ^ m << 30 ^ n >> 7 ^ m << 25) & mask
            low += x
            a_carry += uint(low < x) + (low >> 16 >> 16)
            s[d] = low


@micropython.viper
def _add(s: ptr32, low: uint, x: uint) -> object:
    """Add the working variables, as they lie after the last round, to the hash value (FIPS 180-4, 6.4.2, 4).

    Then they are what the next block begins with (2).
    """
    for i in range(0, 16, 2):
        x = uint(s[_WORKING + 1 + i])
        low = uint(s[i + 1]) + x
        s[i] = uint(s[i]) + uint(s[_WORKING + i]) + uint(low < x) + (low >> 16 >> 16)
        s[i + 1] = low
        s[_WORKING + i] = s[i]
        s[_WORKING + 1 + i] = s[i + 1]


@micropython.viper
def _words(s: ptr32, data: ptr8, store: bool) -> object:
    """Copy the hash value to big-endian bytes (`store`) or from them."""
    for i in range(16):
        p = 4 * i
        if store:
            x = s[i]
            data[p] = x >> 24
            data[p + 1] = x >> 16
            data[p + 2] = x >> 8
            data[p + 3] = x
        else:
            s[i] = data[p] << 24 | data[p + 1] << 16 | data[p + 2] << 8 | data[p + 3]


class Sha512:
    """Like hashlib's: feed it with `update`, then ask for the `digest`."""

    def __init__(self) -> None:
        self._scratch = bytearray(_SCRATCH)
        _words(self._scratch, _INITIAL, False)
        _add(self._scratch, 0, 0)  # the working variables are still zero
        self._pending = memoryview(bytearray(_BLOCK))
        self._length = 0  # bytes fed so far

    def update(self, data: "bytes | bytearray | memoryview") -> None:
        """Take the next bytes of the message."""
        length = len(data)
        used = self._length & (_BLOCK - 1)
        self._length += length
        position = 0
        if used:
            position = min(_BLOCK - used, length)
            self._pending[used : used + position] = memoryview(data)[:position]
            if used + position < _BLOCK:
                return
            self._compress(self._pending, 0)
        while length - position >= _BLOCK:
            self._compress(data, position)
            position += _BLOCK
        if position < length:
            self._pending[: length - position] = memoryview(data)[position:]

    def digest(self) -> bytes:
        """Pad the message (FIPS 180-4, 5.1.2) and return its 64 bytes of hash; only once."""
        length = self._length
        self.update(b"\x80" + bytes((111 - length) % _BLOCK) + (8 * length).to_bytes(16, "big"))
        out = bytearray(64)
        _words(self._scratch, out, True)
        return b"".join([out[i : i + 8] for i in (24, 16, 8, 0, 56, 48, 40, 32)])

    def _compress(self, data: "bytes | bytearray | memoryview", offset: int) -> None:
        """Hash one block of 128 bytes (FIPS 180-4, 6.4.2)."""
        _schedule(self._scratch, 0, 0, data, offset)
        _rounds(self._scratch, 0, 0, _K)
        _add(self._scratch, 0, 0)
