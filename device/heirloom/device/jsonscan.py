"""A strict JSON reader for streams that emits the canonical form while it goes (OLPC canonical JSON).

One pass, no recursion, small fixed buffers. Refused: what RFC 8259 refuses, numbers that are not integers of at
most 18 digits, byte-order marks, invalid UTF-8, lone surrogates, nesting beyond 32, members of one object
that are not in ascending order of their names (so none occurs twice).

Two viper functions do the work over an array of state words. They return an event wherever something rare
or interesting comes up, and `Scanner.step` goes on from there.
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
    from typing import Optional

    from heirloom.device.protocols import Stream, Update

MAX_DEPTH = const(32)
MAX_DIGITS = const(18)
_BUFFER = const(256)  # bytes
_FULL = const(252)  # of the output buffer: one step emits at most three bytes
_MAX_NAMES = const(4096)  # bytes: names of the members on the way from the top to here

# Events. Those from END on are for the caller of step().
_GO = const(0)  # nothing: go on
_MORE = const(1)
_FLUSH = const(2)
_ESCAPE = const(3)
_HIGH = const(4)  # a byte above 0x7F in a string
_LITERAL = const(5)
_GROW = const(6)  # names need more room
_BAD = const(7)
_BAD_DEPTH = const(8)
_BAD_NUMBER = const(9)
_TWICE = const(10)
_UNORDERED = const(11)
END = const(12)  # a value ended at position()
KEY = const(13)  # the name of a member was read: key()
BEGIN = const(14)  # a value begins at position()
DONE = const(15)  # the whole slice was read

# Words of the state.
_I = const(0)  # next byte of the input buffer
_N = const(1)  # its length
_J = const(2)  # next byte of the output buffer
_STATE = const(3)
_DEPTH = const(4)
_AFTER = const(5)  # the state after a value in the innermost container
_BASE = const(6)  # where in the buffer of names the last name in this object lies
_LENGTH = const(7)  # and its length, or _NONE
_P = const(8)  # length of the name being read
_GREATER = const(9)  # whether it is known to come after the last one
_DIGITS = const(10)
_WATCH = const(11)  # END, KEY and BEGIN are reported where fewer containers than this are open
_BEGUN = const(12)  # whether BEGIN was reported for the value that comes
_EMIT = const(13)
_RAW = const(14)  # the input is the unescaped text of a string
_ROOM = const(15)  # size of the buffer of names
_ORDERED = const(16)  # whether the order of names is checked
_WORDS = const(17)

_NONE = const(65536)

# States: what is expected. A comma leads from the fifth to the first, from the sixth to the third.
_VALUE = const(0)
_FIRST_VALUE = const(1)  # or the end of the array
_FIRST_NAME = const(3)  # or the end of the object; 2: only a name
_NEXT_VALUE = const(4)  # a comma or the end of the array
_NEXT_NAME = const(5)  # a comma or the end of the object
_FINISHED = const(6)
_COLON = const(7)
_MINUS = const(8)  # a digit, after a minus
_ZERO = const(9)  # no digit
_NUMBER = const(10)  # perhaps more digits
_STRING = const(11)
_NAME_STRING = const(12)

# What to do, by state (rows) and class of the byte (columns). Capitals begin a value.
_COLUMNS = const(14)
_GRAMMAR = (
    b"S..O.A.MZDL.w."
    b"S..O.AxMZDL.w."
    b"n...........w."
    b"n...x.......w."
    b"..,...x.....w."
    b"..,.x.......w."
    b"............w."
    b".:..........w."
    b"bbbbbbbbzdbbbb"
    b"eeeeeeee..ebee"
    b"eeeeeeeeddebee"
)
_CLASSES = bytearray(b"\x0d" * 128)
for _class, _bytes in enumerate((b'"', b":", b",", b"{", b"}", b"[", b"]", b"-", b"0", b"123456789", b"tfn", b".eE", b" \n\r\t")):
    for _byte in _bytes:
        _CLASSES[_byte] = _class

_ESCAPES = {0x22: b'"', 0x5C: b"\\", 0x2F: b"/", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t"}
_LITERALS = {0x74: b"true", 0x66: b"false", 0x6E: b"null"}
_COMPLAINTS = {
    _BAD: "is not JSON",
    _BAD_DEPTH: "is nested too deep",
    _BAD_NUMBER: "has a number that is not an integer of at most 18 digits",
    _TWICE: "has two members of one name",
}


@micropython.viper
def _text(words: object, source: object, out: object, names: object) -> int:
    """Reads in a string, to its end or to what needs attention."""
    s = ptr32(words)
    src = ptr8(source)
    dst = ptr8(out)
    last = ptr8(names)
    i = int(s[_I])
    j = int(s[_J])
    p = int(s[_P])
    raw = int(s[_RAW])
    emit = int(s[_EMIT])
    named = int(s[_STATE]) - _STRING
    event = _GO
    while event == _GO:
        if i >= int(s[_N]):
            event = _MORE
            break
        if j > _FULL:
            event = _FLUSH
            break
        c = int(src[i])
        if raw == 0 and (c < 0x20 or c == 0x22 or c == 0x5C or c > 0x7F):
            if c == 0x5C:
                event = _ESCAPE
                break
            if c != 0x22:
                event = _BAD if c < 0x20 else _HIGH
                break
            event = END
        else:
            if named != 0:
                at = int(s[_BASE]) + p
                if at >= int(s[_ROOM]):
                    event = _GROW
                    break
                if int(s[_GREATER]) == 0:
                    if p >= int(s[_LENGTH]) or c > int(last[at]):
                        s[_GREATER] = 1
                    elif c < int(last[at]):
                        event = _UNORDERED
                        break
                last[at] = c
                p += 1
            if emit != 0 and (c == 0x22 or c == 0x5C):
                dst[j] = 0x5C
                j += 1
        if emit != 0:
            dst[j] = c
            j += 1
        i += 1
    s[_I] = i
    s[_J] = j
    s[_P] = p
    return event


@micropython.viper
def _named(words: object) -> int:
    """At the end of the name of a member: whether it comes after the last one."""
    s = ptr32(words)
    if int(s[_GREATER]) == 0:
        return _TWICE if int(s[_P]) == int(s[_LENGTH]) else _UNORDERED
    s[_LENGTH] = s[_P]
    s[_STATE] = _COLON
    return KEY


@micropython.viper
def _step(words: object, levels: object, action: int) -> int:
    """Changes the state as the grammar says, when a byte was taken."""
    s = ptr32(words)
    stack = ptr32(levels)
    at = 3 * int(s[_DEPTH])
    if action == 0x53:  # S
        s[_STATE] = _STRING
    elif action == 0x6E:  # n
        s[_STATE] = _NAME_STRING
        s[_P] = 0
        s[_GREATER] = 1 if int(s[_LENGTH]) == _NONE else 1 - int(s[_ORDERED])
    elif action == 0x3A:  # colon
        s[_STATE] = _VALUE
    elif action == 0x2C:  # comma
        s[_STATE] = 2 * (int(s[_AFTER]) - _NEXT_VALUE)
    elif action == 0x4F or action == 0x41:  # O, A
        if at == 3 * MAX_DEPTH:
            return _BAD_DEPTH
        stack[at] = s[_AFTER]
        stack[at + 1] = s[_BASE]
        stack[at + 2] = s[_LENGTH]
        s[_DEPTH] = int(s[_DEPTH]) + 1
        if int(s[_LENGTH]) != _NONE:
            s[_BASE] = int(s[_BASE]) + int(s[_LENGTH])
        an_object = 1 if action == 0x4F else 0
        s[_STATE] = _FIRST_VALUE + 2 * an_object
        s[_AFTER] = _NEXT_VALUE + an_object
        s[_LENGTH] = _NONE * an_object
    elif action == 0x78:  # x
        s[_DEPTH] = int(s[_DEPTH]) - 1
        s[_AFTER] = stack[at - 3]
        s[_BASE] = stack[at - 2]
        s[_LENGTH] = stack[at - 1]
        return END
    elif action == 0x4D:  # M
        s[_STATE] = _MINUS
    elif action == 0x5A or action == 0x7A:  # Z, z
        s[_STATE] = _ZERO
    elif action == 0x44 or action == 0x64:  # D, d
        s[_STATE] = _NUMBER
        s[_DIGITS] = int(s[_DIGITS]) + 1
        if int(s[_DIGITS]) > MAX_DIGITS:
            return _BAD_NUMBER
    return _GO


@micropython.viper
def _run(words: object, source: object, out: object, levels: object, names: object) -> int:
    """Reads on until something needs attention, and says what."""
    s = ptr32(words)
    src = ptr8(source)
    dst = ptr8(out)
    grammar = ptr8(_GRAMMAR)
    classes = ptr8(_CLASSES)
    while True:
        state = int(s[_STATE])
        if state >= _STRING:
            event = int(_text(words, source, out, names))
            if event != END:
                return event
            if state == _NAME_STRING:
                event = int(_named(words))
        else:
            i = int(s[_I])
            j = int(s[_J])
            if i >= int(s[_N]):
                return _MORE
            if j > _FULL:
                return _FLUSH
            c = int(src[i])
            action = 0x2E
            if c < 0x80:
                action = int(grammar[_COLUMNS * state + int(classes[c])])
            if action < 0x5B and action > 0x40:
                if int(s[_DEPTH]) < int(s[_WATCH]) and int(s[_BEGUN]) == 0:
                    s[_BEGUN] = 1
                    return BEGIN
                s[_BEGUN] = 0
                s[_DIGITS] = 0
            if action == 0x2E:
                return _BAD
            if action == 0x62:  # b
                return _BAD_NUMBER
            if action == 0x4C:  # L
                return _LITERAL
            event = END
            if action != 0x65:  # e: the number ended before this byte
                s[_I] = i + 1
                if int(s[_EMIT]) != 0 and action != 0x77 and action != 0x4D:  # w, M
                    if state == _MINUS and action == 0x64:  # "-0" is "0"
                        dst[j] = 0x2D
                        j += 1
                    dst[j] = c
                    s[_J] = j + 1
                event = int(_step(words, levels, action))
        if event == END:
            s[_STATE] = s[_AFTER]
        if event >= END and int(s[_DEPTH]) >= int(s[_WATCH]):
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
        words[_AFTER] = _FINISHED
        words[_LENGTH] = _NONE
        words[_ROOM] = len(self._names)
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
            elif event == _GROW:
                self._grow()
            elif event == _LITERAL:
                if self._literal():
                    return END
            elif event < END:
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
        if len(self._names) >= _MAX_NAMES:
            raise UpdateError(E_LIMIT, f"{self.name} has names of members longer than {_MAX_NAMES} bytes in all")
        self._names = self._names + bytearray(len(self._names))
        self._words[_ROOM] = len(self._names)

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
            elif event == _GROW:
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
        words[_STATE] = words[_AFTER]
        return words[_DEPTH] < words[_WATCH]
