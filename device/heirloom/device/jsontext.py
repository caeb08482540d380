"""What is rare in metadata, so loaded when it comes.

Escapes and characters above U+007F in strings, numbers below zero, and refusals.
"""

from heirloom.device.compat import const
from heirloom.device.errors import E_FORMAT, E_LIMIT, UpdateError
from heirloom.device.jsonscan import (
    BAD,
    BAD_NUMBER,
    ESCAPE,
    GREATER,
    GROW,
    HIGH,
    LENGTH,
    MAX_NAMES,
    MORE,
    NAME_STRING,
    NUMBER,
    ROOM,
    STATE,
    TEXT,
    UNORDERED,
    ZERO,
    I,
    N,
    P,
    Unordered,
    read_text,
)

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from array import array

    from heirloom.device.jsonscan import Scanner

# From BAD on.
_COMPLAINTS = ("is not JSON", "has a number that is not an integer of at most 18 digits", "is nested too deep")
_ESCAPES = b'""\\\\//b\bf\fn\nr\rt\t'


def attend(scanner: "Scanner", words: "array[int]", event: int) -> None:
    """Does what an event asks for. Raises UpdateError E_FORMAT or E_LIMIT, and Unordered."""
    if event == ESCAPE:
        _inject(scanner, words, _escape(scanner))
    elif event == HIGH:
        _inject(scanner, words, _utf8(scanner))
    elif event == GROW and len(scanner.names) < MAX_NAMES:
        scanner.names += bytearray(len(scanner.names))
        words[ROOM] = len(scanner.names)
    else:
        refuse(scanner, words, event)


def _inject(scanner: "Scanner", words: "array[int]", text: bytes) -> None:
    """Goes on as if this character, unescaped, stood in the string."""
    i, n = words[I], words[N]
    if text in b'"\\':
        scanner.put(b"\\")
    words[I] = words[TEXT] = 0
    words[N] = len(text)
    while True:
        event = read_text(words, text, scanner.out, scanner.names)
        if event == MORE:
            break
        scanner.attend(event)
    words[I], words[N] = i, n
    words[TEXT] = 15


def _escape(scanner: "Scanner") -> bytes:
    """Reads an escape (RFC 8259 7); gives what it stands for, in UTF-8."""
    scanner.byte()
    c = scanner.byte()
    if c != 0x75:
        at = _ESCAPES.find(bytes([c]))
        if at < 0 or at & 1:
            scanner.refuse()
        return _ESCAPES[at + 1 : at + 2]
    point = _hex4(scanner)
    if point >> 10 == 0x36:  # the first half of a surrogate pair
        if scanner.byte() != 0x5C or scanner.byte() != 0x75:
            scanner.refuse()
        low = _hex4(scanner)
        if low >> 10 != 0x37:
            scanner.refuse()
        point = 0x10000 + ((point & 0x3FF) << 10) + (low & 0x3FF)
    elif point >> 10 == 0x37:
        scanner.refuse()
    return chr(point).encode()


def _hex4(scanner: "Scanner") -> int:
    value = 0
    for _ in range(4):
        digit = b"0123456789abcdef0123456789ABCDEF".find(bytes([scanner.byte()]))
        if digit < 0:
            scanner.refuse()
        value = value << 4 | digit & 15
    return value


def _utf8(scanner: "Scanner") -> bytes:
    """Reads one character above U+007F (RFC 3629: shortest form, no surrogates, at most U+10FFFF)."""
    lead = scanner.byte()
    follow = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
    text = bytes([lead])
    point = lead & (0x3F >> follow)
    for _ in range(follow):
        c = scanner.byte()
        if c & 0xC0 != 0x80:
            scanner.refuse()
        point = point << 6 | (c & 0x3F)
        text += bytes([c])
    least = (0x80, 0x800, 0x10000)[follow - 1]
    if not 0xC0 <= lead < 0xF5 or not least <= point < 0x110000 or point >> 11 == 0x1B:
        scanner.refuse()
    return text


def minus(scanner: "Scanner") -> int:
    """Reads a minus and the first digit of its number; gives the state behind it."""
    if scanner.byte() != 0x2D:
        scanner.refuse()
    digit = scanner.byte()
    if not 0x30 <= digit <= 0x39:
        scanner.refuse(BAD_NUMBER)
    if digit == 0x30:  # "-0" is "0"
        scanner.put(b"0")
        return ZERO
    scanner.put(bytes([0x2D, digit]))
    return NUMBER


def refuse(scanner: "Scanner", words: "array[int]", event: int) -> None:
    """Raises the error for an event, in the state that the words say."""
    if event == GROW:
        raise UpdateError(E_LIMIT, f"{scanner.name} has names longer than {MAX_NAMES} bytes in all")
    complaint = "has two members of one name"
    if event != UNORDERED:
        complaint = _COMPLAINTS[event - BAD]
    elif words[STATE] != NAME_STRING or words[P] != words[LENGTH] or words[GREATER]:
        raise Unordered
    at = scanner.position()
    hint = "" if event != BAD or at else "; perhaps a page where the network wants a log-in"
    raise UpdateError(E_FORMAT, f"{scanner.name} {complaint} (at byte {at}{hint})")
