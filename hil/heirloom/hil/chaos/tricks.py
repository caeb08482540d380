"""What a network, a portal or a broken server makes of a true answer. Each trick is named, and the same for a seed.

A trick gets the true answer and yields what goes over the wire: bytes, pauses in seconds, and at last nothing (the
connection is kept) or CLOSE or RESET. Sources: RFC 9110, RFC 9112; complaints about embedded HTTP clients.
"""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Literal


class End(Enum):
    """How a connection ends."""

    CLOSE = "closed in order"
    RESET = "reset"


CLOSE, RESET = End.CLOSE, End.RESET
Piece = bytes | float | End
#: Bytes after which a server of endless data gives up; more than any limit of the client.
ENDLESS_BYTES = 4 << 20
_PORTAL = b"<!doctype html><html><title>Welcome</title><p>Please accept our terms to go on."


@dataclass(frozen=True)
class Answer:
    """A true answer. `length` is the Content-Length that a GET would have."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def head(self, status: int | None = None, length: int | None = None, *more: str, version: str = "1.1") -> bytes:
        """The head, with another status or length (-1: none), and more lines."""
        count = len(self.body) if length is None else length
        lines = [
            f"HTTP/{version} {status or self.status} Reason",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        lines += [f"Content-Length: {count}"] if count >= 0 else []
        return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode("latin-1")


Pieces = Callable[[Answer, Random], Iterator[Piece]]


@dataclass(frozen=True)
class Trick:
    """A way to answer wrongly.

    Attributes:
        harm: "none": a correct client takes the answer all the same; "error": it reports one; "any": either.
        slow: It takes as long as the client waits.
    """

    name: str
    pieces: Pieces
    harm: Literal["none", "error", "any"]
    slow: bool = False


TRICKS: dict[str, Trick] = {}


def _trick(harm: Literal["none", "error", "any"], *, slow: bool = False) -> Callable[[Pieces], Pieces]:
    def add(pieces: Pieces) -> Pieces:
        name = pieces.__name__.strip("_").replace("_", "-")
        TRICKS[name] = Trick(name, pieces, harm, slow)
        return pieces

    return add


# -- harmless to who reads HTTP as it is written


@_trick("none")
def _in_single_bytes_at_first(answer: Answer, _: Random) -> Iterator[Piece]:
    data = answer.head() + answer.body
    yield from (data[at : at + 1] for at in range(min(64, len(data))))
    yield data[64:]


@_trick("none")
def _in_odd_pieces(answer: Answer, coin: Random) -> Iterator[Piece]:
    data = answer.head() + answer.body
    while data:
        count = coin.randint(1, 700)
        yield data[:count]
        data = data[count:]


@_trick("none")
def _chunks_of_odd_sizes(answer: Answer, coin: Random) -> Iterator[Piece]:
    yield answer.head(None, -1, "Transfer-Encoding: chunked")
    body = answer.body
    while body and answer.status not in (204, 304):
        count = coin.randint(1, 900)
        yield b"%x;note=odd\r\n%b\r\n" % (len(body[:count]), body[:count])
        body = body[count:]
    if answer.status not in (204, 304):
        yield b"0\r\nX-Trailer: ignored\r\n\r\n"


@_trick("none")
def _early_hints(answer: Answer, _: Random) -> Iterator[Piece]:
    yield b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + answer.head() + answer.body


@_trick("none")
def _no_length_until_the_end(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head(None, -1, version="1.0") + answer.body
    yield CLOSE


@_trick("none")
def _many_headers(answer: Answer, coin: Random) -> Iterator[Piece]:
    lines = [f"X-Pad-{number}: {'x' * coin.randint(1, 400)}" for number in range(40)]
    yield answer.head(None, None, *lines) + answer.body


@_trick("none")
def _closed_after_each_answer(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head() + answer.body  # it says that the connection is kept, and does not keep it
    yield CLOSE


@_trick("none")
def _whole_file_instead_of_a_range(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head() + answer.body  # the server that was asked did not see the Range: see ChaosServer


# -- the answer is spoilt, and a client must say so


@_trick("error")
def _nothing_at_all(_: Answer, __: Random) -> Iterator[Piece]:
    yield CLOSE


@_trick("error")
def _reset(_: Answer, __: Random) -> Iterator[Piece]:
    yield RESET


@_trick("error")
def _head_cut(answer: Answer, coin: Random) -> Iterator[Piece]:
    yield answer.head()[: coin.randint(1, 20)]
    yield CLOSE


@_trick("error")
def _body_cut(answer: Answer, coin: Random) -> Iterator[Piece]:
    # Of an answer without a body there is only the head to cut.
    yield answer.head() + answer.body[: coin.randrange(len(answer.body))] if answer.body else b"HTTP/1.1"
    yield CLOSE


@_trick("error")
def _reordered(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.body + answer.head()
    yield CLOSE


@_trick("error")
def _head_without_end(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head()[:-2]
    for number in range(ENDLESS_BYTES // 1024):
        yield b"X-%d: %b\r\n" % (number, b"y" * 1000)
    yield CLOSE


@_trick("error")
def _line_without_end(_: Answer, __: Random) -> Iterator[Piece]:
    yield b"HTTP/1.1 200 "
    for _number in range(ENDLESS_BYTES // 1024):
        yield b"z" * 1024
    yield CLOSE


@_trick("error")
def _body_without_end(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head(200, -1) + answer.body
    for _number in range(ENDLESS_BYTES // 1024):
        yield b"{" * 1024
    yield CLOSE


@_trick("error")
def _chunks_without_end(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head(200, -1, "Transfer-Encoding: chunked")
    for _number in range(ENDLESS_BYTES // 1024):
        yield b"400\r\n" + b"[" * 1024 + b"\r\n"
    yield CLOSE


@_trick("error")
def _chunk_sizes_that_are_none(answer: Answer, coin: Random) -> Iterator[Piece]:
    size = coin.choice([b"-1", b"zz", b"", b"ffffffffffffffffffff", b"0x10"])
    yield answer.head(200, -1, "Transfer-Encoding: chunked") + size + b"\r\n" + answer.body
    yield CLOSE


@_trick("error")
def _lengths_that_are_none(answer: Answer, coin: Random) -> Iterator[Piece]:
    value = coin.choice(["-5", "many", "1e9", "99999999999999999999"])
    yield answer.head(200, -1, f"Content-Length: {value}") + answer.body
    yield CLOSE


@_trick("error")
def _promises_more_than_it_sends(answer: Answer, coin: Random) -> Iterator[Piece]:
    yield answer.head(200, len(answer.body) + coin.randint(1, 5000)) + answer.body
    yield CLOSE


@_trick("error")
def _statuses_that_mean_nothing_here(_: Answer, coin: Random) -> Iterator[Piece]:
    status = coin.choice([201, 202, 204, 205, 300, 400, 401, 407, 416, 418, 429, 500, 502, 503, 599, 999])
    yield Answer(status, (), b"" if status == 204 else b"sorry").head() + (b"" if status == 204 else b"sorry")


@_trick("error")
def _not_http(_: Answer, coin: Random) -> Iterator[Piece]:
    yield coin.choice(
        [b"220 mail.example.org ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"SSH-2.0-x\r\n", b"\0" * 64]
    )
    yield CLOSE


@_trick("error")
def _round_in_circles(_: Answer, __: Random) -> Iterator[Piece]:
    yield b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"


@_trick("error")
def _to_nowhere(_: Answer, coin: Random) -> Iterator[Piece]:
    where = coin.choice(
        [b"http://127.0.0.1:1/", b"ftp://127.0.0.1/", b"//", b"http://", b"file:///heirloom/state", b""]
    )
    yield b"HTTP/1.1 301 Moved\r\nLocation: " + where + b"\r\nContent-Length: 0\r\n\r\n"


@_trick("error")
def _captive_portal(_: Answer, __: Random) -> Iterator[Piece]:
    yield Answer(200, (("Content-Type", "text/html"),), _PORTAL).head() + _PORTAL


@_trick("error")
def _portal_that_redirects(_: Answer, __: Random) -> Iterator[Piece]:
    yield b"HTTP/1.1 511 Network Authentication Required\r\nContent-Length: %d\r\n\r\n" % len(_PORTAL) + _PORTAL


@_trick("error")
def _bits_flipped(answer: Answer, coin: Random) -> Iterator[Piece]:
    body = bytearray(answer.body)
    for _number in range(1 + len(body) // 200):
        if body:
            body[coin.randrange(len(body))] ^= 1 << coin.randrange(8)
    yield answer.head() + bytes(body) if body else b"HTTP/1.1 2\r\n\r\n"
    yield CLOSE


# -- a client may make something of it or not, but nothing wrong


@_trick("any")
def _twice(answer: Answer, _: Random) -> Iterator[Piece]:
    yield (answer.head() + answer.body) * 2


@_trick("any")
def _more_than_it_promised(answer: Answer, coin: Random) -> Iterator[Piece]:
    yield answer.head() + answer.body + coin.randbytes(300)


@_trick("any")
def _packed_unasked(answer: Answer, _: Random) -> Iterator[Piece]:
    body = gzip.compress(answer.body)
    yield answer.head(None, len(body), "Content-Encoding: gzip") + body


@_trick("any")
def _two_lengths(answer: Answer, _: Random) -> Iterator[Piece]:
    yield answer.head(None, len(answer.body), f"Content-Length: {len(answer.body) // 2}") + answer.body
    yield CLOSE


@_trick("any")
def _chunked_and_a_length(answer: Answer, _: Random) -> Iterator[Piece]:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body) if answer.body else b"0\r\n\r\n"
    yield answer.head(200, 3, "Transfer-Encoding: chunked") + body
    yield CLOSE


@_trick("any")
def _a_range_that_was_not_asked_for(answer: Answer, coin: Random) -> Iterator[Piece]:
    first = coin.randint(0, 100)
    more = f"Content-Range: bytes {first}-{first + len(answer.body)}/999999"
    yield answer.head(206, None, more) + answer.body


@_trick("any")
def _never_modified(answer: Answer, _: Random) -> Iterator[Piece]:
    yield Answer(304, answer.headers, b"").head(304, -1)


# -- time


@_trick("error", slow=True)
def _silence(_: Answer, __: Random) -> Iterator[Piece]:
    yield 60.0
    yield CLOSE


@_trick("error", slow=True)
def _one_byte_a_second(answer: Answer, _: Random) -> Iterator[Piece]:
    for byte in answer.head() + answer.body:
        yield bytes([byte])
        yield 1.0
    yield CLOSE


@_trick("error", slow=True)
def _stops_in_the_middle(answer: Answer, _: Random) -> Iterator[Piece]:
    yield (answer.head() + answer.body)[: len(answer.head()) + len(answer.body) // 2]
    yield 60.0
    yield CLOSE


@_trick("none")
def _short_pauses(answer: Answer, _: Random) -> Iterator[Piece]:
    data = answer.head() + answer.body
    for at in range(0, len(data), max(1, len(data) // 5)):
        yield data[at : at + max(1, len(data) // 5)]
        yield 0.05
