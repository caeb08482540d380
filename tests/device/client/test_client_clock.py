"""The network's clock, as HTTP says it."""

import pytest

from heirloom.device.clock import from_http


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01T00:00:00Z"),
        ("Wed, 31 Dec 2106 23:59:59 GMT", "2106-12-31T23:59:59Z"),
        ("Sun Nov  6 08:49:37 1994", ""),
        ("Thu, 1 Jan 2026 00:00:00 GMT", ""),
        ("Thu, 01 Foo 2026 00:00:00 GMT", ""),
        ("", ""),
        ("a b c d e f", ""),
    ],
)
def test_http_dates(date: str, expected: str) -> None:
    assert from_http(date) == expected
