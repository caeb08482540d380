"""A strict JSON reader for streams that emits the canonical form while it goes (OLPC canonical JSON).

One pass, no recursion, small fixed buffers. Refused: what RFC 8259 refuses, numbers that are not integers of at
most 18 digits, byte-order marks, invalid UTF-8, lone surrogates, nesting beyond 32, members of one object
that are not in ascending order of their names (so none occurs twice).

The work is done by three viper functions over an array of state words; they return an event wherever
something rare or interesting comes up, and `Scanner.step` goes on from there.
"""

from array import array

from heirloom.device.errors import E_FORMAT, E_LIMIT, UpdateError

try:
    import micropython
    from micropython import const
except ImportError:
    from heirloom.device import compat as micropython  # type: ignore[no-redef]
    from heirloom.device.compat import const, ptr8, ptr32

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from heirloom.device.protocols import Stream, Update

MAX_DEPTH = const(32)
MAX_DIGITS = const(18)
_BUFFER = const(256)  # bytes
_MAX_KEYS = const(4096)  # bytes: names of the members on the way from the top to here

# Events of the viper functions; those from KEY on are for the caller of step().
_GO = const(-1)  # nothing: go on
_MORE = const(0)
_FLUSH = const(1)
_ESCAPE = const(2)
_HIGH = const(3)  # a byte above 0x7F in a string
_LITERAL = const(4)
_KEYS_FULL = const(5)
_BAD = const(6)
_BAD_DEPTH = const(7)
_BAD_NUMBER = const(8)
_TWICE = const(9)
_UNORDERED = const(10)
KEY = const(16)  # the name of a member was read: key()
BEGIN = const(17)  # a value begins at position()
END = const(18)  # it ended at position()
DONE = const(19)  # the whole slice was read

# Words of the state.
_I = const(0)  # next byte of the input buffer
_N = const(1)  # its length
_J = const(2)  # next byte of the output buffer
_STATE = const(3)
_DEPTH = const(4)
_IN_OBJECT = const(5)  # whether the innermost container is an object
_BASE = const(6)  # where in the buffer of names the last name in this object lies
_LENGTH = const(7)  # and its length, or _NONE
_P = const(8)  # length of the name being read
_GREATER = const(9)  # whether it is known to come after the last one
_DIGITS = const(10)
_WATCH = const(11)  # KEY, BEGIN and END are reported where fewer containers than this are open
_BEGUN = const(12)  # whether BEGIN was reported for the value that comes
_EMIT = const(13)
_RAW = const(14)  # the input is the unescaped text of a string
_KEYS = const(15)  # size of the buffer of names
_ORDERED = const(16)  # whether the order of names is checked
_WORDS = const(17)

_NONE = const(65536)

# What is expected next.
_VALUE = const(0)
_FIRST_VALUE = const(1)  # or the end of the array
_NAME = const(2)
_FIRST_NAME = const(3)  # or the end of the object
_COLON = const(4)
_NEXT = const(5)  # a comma or the end of the container
_FINISHED = const(6)
_MINUS = const(7)  # a digit, after a minus
_ZERO = const(8)  # no digit
_NUMBER = const(9)  # perhaps more digits
_STRING = const(10)
_NAME_STRING = const(11)

_ESCAPES = {0x22: b'"', 0x5C: b"\\", 0x2F: b"/", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t"}
_LITERALS = {0x74: b"true", 0x66: b"false", 0x6E: b"null"}
_COMPLAINTS = {
    _BAD: "is not JSON",
    _BAD_DEPTH: "is nested too deep",
    _TWICE: "has two members of one name",
    _BAD_NUMBER: "has a number that is not an integer of at most 18 digits",
}


@micropython.viper
def _text(words: object, source: object, out: object, names: object) -> int:
    """Reads inside a string, up to its end or to what needs attention."""
    s = ptr32(words)
    src = ptr8(source)
    dst = ptr8(out)
    keys = ptr8(names)
    i = int(s[_I])
    j = int(s[_J])
    p = int(s[_P])
    named = int(s[_STATE]) == _NAME_STRING
    event = _MORE
    while i < int(s[_N]):
        c = int(src[i])
        if int(s[_RAW]) == 0:
            if c == 0x22 or c == 0x5C or c >= 0x80 or c < 0x20:
                event = _HIGH
                if c == 0x22:
                    event = _GO
                elif c == 0x5C:
                    event = _ESCAPE
                elif c < 0x20:
                    event = _BAD
                break
        if j > _BUFFER - 4:
            event = _FLUSH
            break
        if named:
            at = int(s[_BASE]) + p
            if at >= int(s[_KEYS]):
                event = _KEYS_FULL
                break
            if int(s[_GREATER]) == 0:
                if p >= int(s[_LENGTH]) or c > int(keys[at]):
                    s[_GREATER] = 1
                elif c < int(keys[at]):
                    event = _UNORDERED
                    break
            keys[at] = c
            p += 1
        if int(s[_EMIT]) != 0:
            if c == 0x22 or c == 0x5C:
                dst[j] = 0x5C
                j += 1
            dst[j] = c
            j += 1
        i += 1
    s[_I] = i
    s[_J] = j
    s[_P] = p
    return event


@micropython.viper
def _container(words: object, levels: object, c: int) -> int:
    """Enters or leaves an object or an array, as the bracket c says."""
    s = ptr32(words)
    stack = ptr32(levels)
    if c == 0x7B or c == 0x5B:
        depth = int(s[_DEPTH])
        if depth == MAX_DEPTH:
            return _BAD_DEPTH
        stack[3 * depth] = s[_IN_OBJECT]
        stack[3 * depth + 1] = s[_BASE]
        stack[3 * depth + 2] = s[_LENGTH]
        s[_DEPTH] = depth + 1
        if int(s[_LENGTH]) < _NONE:
            s[_BASE] = int(s[_BASE]) + int(s[_LENGTH])
        s[_LENGTH] = 0
        s[_IN_OBJECT] = 0
        s[_STATE] = _FIRST_VALUE
        if c == 0x7B:
            s[_LENGTH] = _NONE
            s[_IN_OBJECT] = 1
            s[_STATE] = _FIRST_NAME
        return _GO
    if c - 0x5D != 0x20 * int(s[_IN_OBJECT]):
        return _BAD
    depth = int(s[_DEPTH]) - 1
    s[_DEPTH] = depth
    s[_IN_OBJECT] = stack[3 * depth]
    s[_BASE] = stack[3 * depth + 1]
    s[_LENGTH] = stack[3 * depth + 2]
    return END


@micropython.viper
def _number(words: object, c: int) -> int:
    """Takes the byte c of a number: _GO when it belongs to it, END when it follows it."""
    s = ptr32(words)
    state = int(s[_STATE])
    if c < 0x30 or c > 0x39:
        if state == _MINUS or c == 0x2E or c == 0x45 or c == 0x65:
            return _BAD_NUMBER
        return END
    if state == _ZERO:
        return _BAD
    digits = int(s[_DIGITS]) + 1
    s[_DIGITS] = digits
    if digits > MAX_DIGITS:
        return _BAD_NUMBER
    if digits == 1 and c == 0x30:
        s[_STATE] = _ZERO
    else:
        s[_STATE] = _NUMBER
    return _GO


@micropython.viper
def _value(words: object, levels: object, c: int) -> int:
    """Begins the value whose first byte is c."""
    s = ptr32(words)
    if int(s[_DEPTH]) < int(s[_WATCH]) and int(s[_BEGUN]) == 0:
        s[_BEGUN] = 1
        return BEGIN
    s[_BEGUN] = 0
    s[_DIGITS] = 0
    if c == 0x22:
        s[_STATE] = _STRING
    elif c == 0x7B or c == 0x5B:
        return int(_container(words, levels, c))
    elif c == 0x2D:
        s[_STATE] = _MINUS
    elif c == 0x74 or c == 0x66 or c == 0x6E:
        return _LITERAL
    else:
        s[_STATE] = _NUMBER
        if c < 0x30 or c > 0x39:
            return _BAD
        return int(_number(words, c))
    return _GO


@micropython.viper
def _quote(words: object) -> int:
    """Ends a string."""
    s = ptr32(words)
    if int(s[_STATE]) == _STRING:
        return END
    if int(s[_GREATER]) == 0:
        if int(s[_P]) == int(s[_LENGTH]):
            return _TWICE
        return _UNORDERED
    s[_LENGTH] = s[_P]
    s[_STATE] = _COLON
    if int(s[_DEPTH]) < int(s[_WATCH]):
        return KEY
    return _GO


@micropython.viper
def _name(words: object, levels: object, c: int) -> int:
    """Begins the name of a member, or ends the empty object."""
    s = ptr32(words)
    if c == 0x7D and int(s[_STATE]) == _FIRST_NAME:
        return int(_container(words, levels, c))
    s[_STATE] = _NAME_STRING
    s[_P] = 0
    s[_GREATER] = 0
    if int(s[_LENGTH]) == _NONE or int(s[_ORDERED]) == 0:
        s[_GREATER] = 1
    if c == 0x22:
        return _GO
    return _BAD


@micropython.viper
def _structure(words: object, levels: object, c: int) -> int:
    """Takes one byte outside strings and numbers that is not white space."""
    s = ptr32(words)
    state = int(s[_STATE])
    if state <= _FIRST_VALUE:
        if c == 0x5D and state == _FIRST_VALUE:
            return int(_container(words, levels, c))
        return int(_value(words, levels, c))
    if state <= _FIRST_NAME:
        return int(_name(words, levels, c))
    if state == _COLON:
        s[_STATE] = _VALUE
        if c == 0x3A:
            return _GO
    elif state == _NEXT:
        if c == 0x2C:
            s[_STATE] = _VALUE
            if int(s[_IN_OBJECT]) == 1:
                s[_STATE] = _NAME
            return _GO
        if c == 0x5D or c == 0x7D:
            return int(_container(words, levels, c))
    return _BAD


@micropython.viper
def _run(words: object, source: object, out: object, levels: object, names: object) -> int:
    """Reads on until something needs attention, and says what."""
    s = ptr32(words)
    src = ptr8(source)
    dst = ptr8(out)
    while True:
        if int(s[_J]) > _BUFFER - 4:
            return _FLUSH
        state = int(s[_STATE])
        if state >= _STRING:
            event = int(_text(words, source, out, names))
            if event != _GO:
                return event
            c = 0x22
            event = int(_quote(words))
        else:
            if int(s[_I]) >= int(s[_N]):
                return _MORE
            c = int(src[int(s[_I])])
            if state >= _MINUS:
                event = int(_number(words, c))
            elif c == 0x20 or c == 0x0A or c == 0x0D or c == 0x09:
                s[_I] = int(s[_I]) + 1
                continue
            else:
                event = int(_structure(words, levels, c))
        if event == _GO or event == KEY or (event == END and state < _MINUS) or (event == END and state == _STRING):
            s[_I] = int(s[_I]) + 1
            if int(s[_EMIT]) != 0:
                j = int(s[_J])
                if state == _MINUS and c != 0x30:  # "-0" is "0"
                    dst[j] = 0x2D
                    j += 1
                if c != 0x2D:
                    dst[j] = c
                    j += 1
                s[_J] = j
        if event == END:
            s[_STATE] = _NEXT
            if int(s[_DEPTH]) == 0:
                s[_STATE] = _FINISHED
            if int(s[_DEPTH]) >= int(s[_WATCH]):
                event = _GO
        if event != _GO:
            return event


class Unordered(Exception):
    """Members are not in the order of the canonical form: the document must be put in order first."""


class Scanner:
    """Reads slices of a stream, one after the other. Its 1.2 KB of buffers are made once."""

    def __init__(self) -> None:
        self._words = array("i", [0] * _WORDS)
        self._levels = array("i", [0] * (3 * MAX_DEPTH))
        self._in = bytearray(_BUFFER)
        self._out = bytearray(_BUFFER)
        self._names = bytearray(_BUFFER)

    def start(self, name: str, stream: "Stream", begin: int, end: int, watch: int, ordered: bool = True) -> None:
        """Prepares to read the one value in bytes begin to end of the stream.

        watch: how many levels to report by KEY, BEGIN and END; 0: none, 1: the value itself, 2: what is directly
        in it, too.
        name: of the file, for error sentences.
        """
        words = self._words
        for i in range(_WORDS):
            words[i] = 0
        words[_WATCH] = watch
        words[_KEYS] = len(self._names)
        words[_ORDERED] = ordered
        self.name = name
        self._stream = stream
        self._next = begin  # where in the stream the next buffer begins
        self._end = end
        self._update: "Optional[Update]" = None

    def emit(self, update: "Optional[Update]") -> None:
        """From here on, sends canonical bytes to update (in pieces, valid only during the call); None: stops."""
        if self._update:
            self.flush()
        self._update = update
        self._words[_EMIT] = 1 if update else 0

    def watch(self, levels: int) -> None:
        """Changes how many levels are reported."""
        self._words[_WATCH] = levels

    def position(self) -> int:
        """Offset in the stream of the next byte to be read."""
        return self._next - self._words[_N] + self._words[_I]

    def depth(self) -> int:
        """How many containers are open."""
        return self._words[_DEPTH]

    def key(self) -> bytes:
        """The name that the last KEY was about, unescaped, in UTF-8."""
        base = self._words[_BASE]
        return bytes(self._names[base : base + self._words[_LENGTH]])

    def step(self) -> int:
        """Reads on to the next KEY, BEGIN, END, or to DONE.

        Raises UpdateError E_FORMAT or E_LIMIT for what is refused, Unordered where members are not in order.
        """
        while True:
            event = _run(self._words, self._in, self._out, self._levels, self._names)
            if event == _MORE:
                if not self._fill():
                    return self._finish()
            elif event == _FLUSH:
                self.flush()
            elif event == _ESCAPE:
                self._inject(self._escape())
            elif event == _HIGH:
                self._inject(self._utf8())
            elif event == _KEYS_FULL:
                self._grow()
            elif event == _LITERAL:
                if self._literal():
                    return END
            elif event < KEY:
                self._refuse(event)
            else:
                return event

    def _refuse(self, event: int) -> None:
        if event == _UNORDERED:
            raise Unordered
        raise UpdateError(E_FORMAT, f"{self.name} {_COMPLAINTS[event]} (at byte {self.position()})")

    def _finish(self) -> int:
        words = self._words
        if words[_STATE] == _ZERO or words[_STATE] == _NUMBER:
            if not words[_DEPTH]:
                words[_STATE] = _FINISHED
                if words[_WATCH]:
                    return END
        if words[_STATE] != _FINISHED:
            raise UpdateError(E_FORMAT, f"{self.name} ends too early (at byte {self._end})")
        self.emit(None)
        return DONE

    def _fill(self) -> bool:
        """Reads the next buffer. False at the end of the slice."""
        wanted = self._end - self._next
        if wanted <= 0:
            return False
        self._stream.seek(self._next)
        got = self._stream.readinto(self._in) or 0
        got = min(got, wanted)
        self._next += got
        self._words[_I] = 0
        self._words[_N] = got
        return got > 0

    def flush(self) -> None:
        """Sends on what was emitted so far."""
        length = self._words[_J]
        self._words[_J] = 0
        if self._update and length:
            self._update(memoryview(self._out)[:length])

    def _grow(self) -> None:
        """Makes room for longer names."""
        if len(self._names) >= _MAX_KEYS:
            raise UpdateError(E_LIMIT, f"{self.name} has names of members longer than {_MAX_KEYS} bytes in all")
        self._names = self._names + bytearray(len(self._names))
        self._words[_KEYS] = len(self._names)

    def _byte(self) -> int:
        """Takes the next byte of the input, whatever it is."""
        words = self._words
        if words[_I] >= words[_N] and not self._fill():
            raise UpdateError(E_FORMAT, f"{self.name} ends too early (at byte {self._end})")
        value = self._in[words[_I]]
        words[_I] += 1
        return value

    def _inject(self, text: bytes) -> None:
        """Goes on as if these bytes, unescaped, stood in the string."""
        words = self._words
        i = words[_I]
        n = words[_N]
        words[_I] = 0
        words[_N] = len(text)
        words[_RAW] = 1
        while True:
            event = _text(words, text, self._out, self._names)
            if event == _MORE:
                break
            if event == _FLUSH:
                self.flush()
            elif event == _KEYS_FULL:
                self._grow()
            else:
                self._refuse(event)
        words[_I] = i
        words[_N] = n
        words[_RAW] = 0

    def _escape(self) -> bytes:
        """Reads an escape (RFC 8259 7); gives what it stands for, in UTF-8."""
        self._byte()
        c = self._byte()
        if c != 0x75:
            if c not in _ESCAPES:
                self._refuse(_BAD)
            return _ESCAPES[c]
        point = self._hex4()
        if point >> 10 == 0x36:  # the first half of a surrogate pair
            if self._byte() != 0x5C or self._byte() != 0x75:
                self._refuse(_BAD)
            low = self._hex4()
            if low >> 10 != 0x37:
                self._refuse(_BAD)
            point = 0x10000 + ((point & 0x3FF) << 10) + (low & 0x3FF)
        elif point >> 10 == 0x37:
            self._refuse(_BAD)
        return chr(point).encode()

    def _hex4(self) -> int:
        value = 0
        for _ in range(4):
            digit = b"0123456789abcdef".find(bytes([self._byte()]).lower())
            if digit < 0:
                self._refuse(_BAD)
            value = value << 4 | digit
        return value

    def _utf8(self) -> bytes:
        """Reads one character above U+007F (RFC 3629: shortest form, no surrogates, at most U+10FFFF)."""
        lead = self._byte()
        follow = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        least = (0x80, 0x800, 0x10000)[follow - 1]
        text = bytes([lead])
        point = lead & (0x3F >> follow)
        for _ in range(follow):
            c = self._byte()
            if c & 0xC0 != 0x80:
                self._refuse(_BAD)
            point = point << 6 | (c & 0x3F)
            text += bytes([c])
        if lead < 0xC2 or lead > 0xF4 or point < least or point > 0x10FFFF or point >> 11 == 0x1B:
            self._refuse(_BAD)
        return text

    def _literal(self) -> bool:
        """Reads true, false or null. Whether its END is to be reported."""
        words = self._words
        word = _LITERALS[self._in[words[_I]]]
        for c in word:
            if self._byte() != c:
                self._refuse(_BAD)
        if words[_EMIT]:
            self.flush()
            self._out[: len(word)] = word
            words[_J] = len(word)
        words[_STATE] = _NEXT if words[_DEPTH] else _FINISHED
        return words[_DEPTH] < words[_WATCH]
