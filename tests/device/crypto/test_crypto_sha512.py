"""SHA-512 in viper against hashlib's. (The unix port's hashlib has none, as the boards'.)"""

import hashlib
from random import Random

from crypto_cases import RunLines


def agree(run_lines: RunLines, cases: list[tuple[bytes, int]]) -> int:
    answers = run_lines(f"sha512 {split} {message.hex() or '-'}\n" for message, split in cases)
    for (message, split), answer in zip(cases, answers, strict=True):
        assert answer == hashlib.sha512(message).hexdigest(), f"{len(message)} bytes in two, the first of {split}"
    return len(cases)


def test_all_lengths(run_lines: RunLines) -> None:
    """0 to 300 bytes: two blocks and a half, and every way the padding can fall."""
    random = Random(512)
    cases = [(random.randbytes(length), length) for length in range(301)]
    assert agree(run_lines, cases) == 301


def test_all_splits(run_lines: RunLines) -> None:
    """A message in two updates, split anywhere."""
    message = Random(513).randbytes(300)
    assert agree(run_lines, [(message, split) for split in range(301)]) == 301


def test_bits_that_carry(run_lines: RunLines) -> None:
    """All ones, all zeros, single bits: sums that overflow in each half."""
    cases = [(bytes([byte]) * length, 0) for byte in (0x00, 0xFF, 0x80, 0x7F) for length in (111, 112, 128, 1000)]
    cases += [((1 << bit).to_bytes(128, "big"), 5) for bit in range(0, 1024, 31)]
    assert agree(run_lines, cases) == 50


def test_long_messages(run_lines: RunLines) -> None:
    random = Random(514)
    cases = [(random.randbytes(length), length // 3) for length in (1023, 1024, 4096, 10000)]
    assert agree(run_lines, cases) == 4
