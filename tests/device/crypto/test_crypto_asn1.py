"""DER values one by one: X.690, 8.1.3, 8.3 and 10.1."""

import pytest

from heirloom.device import asn1

OCTETS = 0x04


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535])
def test_shortest_lengths(length: int) -> None:
    size = bytes([length]) if length < 128 else bytes([0x80 | (length.bit_length() + 7) // 8])
    size += b"" if length < 128 else length.to_bytes((length.bit_length() + 7) // 8, "big")
    data = b"\x04" + size + bytes(length)
    assert asn1.value(data, 0, len(data), OCTETS) == (1 + len(size), len(data))
    assert asn1.whole(data, 0, len(data), OCTETS) == 1 + len(size)
    # And with other things around it.
    around = b"\x30\x05" + data + b"\0"
    assert asn1.value(around, 2, len(around), OCTETS) == (3 + len(size), 2 + len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x04",
        b"\x05\x00",
        b"\x04\x01",
        b"\x04\x05abcd",
        b"\x04\x80",
        b"\x04\x80\0\0",
        b"\x04\x80" + bytes(128),
        b"\x04\x81",
        b"\x04\x82\x01",
        b"\x04\x81\x05abcde",
        b"\x04\x81\x7f" + bytes(127),
        b"\x04\x82\x00\x05abcde",
        b"\x04\x82\x00\xff" + bytes(255),
        b"\x04\x82\x01\x00" + bytes(255),
        b"\x04\x83\x00\x01\x00" + bytes(256),
        b"\x04\x83\x01\x00\x00" + bytes(65536),  # right, but longer than anything we read
        b"\x04\xff" + bytes(300),
    ],
    ids=lambda data: data[:5].hex(),
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="DER"):
        asn1.value(data, 0, len(data), OCTETS)


def test_end_is_the_callers() -> None:
    """Bytes beyond `end` do not count, even when they are there."""
    data = b"\x04\x03abc"
    for end in range(len(data)):
        with pytest.raises(ValueError, match="DER"):
            asn1.value(data, 0, end, OCTETS)


@pytest.mark.parametrize(
    ("encoded", "number"),
    [("020100", 0), ("020101", 1), ("02017f", 127), ("02020080", 128), ("02020100", 256), ("020300ffff", 65535)],
)
def test_integers(encoded: str, number: int) -> None:
    data = bytes.fromhex(encoded)
    assert asn1.unsigned(data, 0, len(data)) == (number, len(data))


@pytest.mark.parametrize(
    "encoded", ["0200", "020180", "0201ff", "02020001", "0202007f", "02020000", "0202ff00", "020280"]
)
def test_integers_refused(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    with pytest.raises(ValueError, match="DER"):
        asn1.unsigned(data, 0, len(data))
