"""A strict JSON reader for streams that emits the canonical form while it goes (OLPC canonical JSON).

One pass, no recursion, small fixed buffers. Refused: what RFC 8259 refuses, numbers that are not integers of at
most 18 digits, byte-order marks, invalid UTF-8, lone surrogates, nesting beyond 32, members of one object
that are not in ascending order of their names (so none occurs twice).

Two viper functions do the work over an array of state words, led by tables (in viper a table is far smaller
than comparisons). They return an event wherever something rare or interesting comes up, and `Scanner.step`
goes on from there.
"""

from array import array

from heirloom.device import compat as micropython
from heirloom.device.compat import const, ptr8, ptr32

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from heirloom.device.protocols import Stream, Update

MAX_DEPTH = const(32)
MAX_DIGITS = const(18)
_BUFFER = const(256)  # bytes of input
_OUT = const(128)  # bytes of output
_FULL = const(124)  # of them: one step emits at most three
MAX_NAMES = const(4096)  # bytes: names of the members on the way from the top to here

# Events, first those for the caller of step().
_GO = const(0)  # nothing: go on
END = const(1)  # a value ended at position()
KEY = const(2)  # the name of a member was read: key()
BEGIN = const(3)  # a value begins at position()
DONE = const(4)  # the whole slice was read
_MORE = const(5)
_FLUSH = const(6)
GROW = const(7)  # names need more room
_ESCAPE = const(8)
_HIGH = const(9)  # a byte above 0x7F in a string
_WORD = const(10)  # true, false, null or a minus
BAD = const(11)
_BAD_NUMBER = const(12)
_BAD_DEPTH = const(13)
UNORDERED = const(14)

# Words of the state.
_I = const(0)  # next byte of the input buffer
_N = const(1)  # its length
_J = const(2)  # next byte of the output buffer
STATE = const(3)
_DEPTH = const(4)
_AFTER = const(5)  # the state after a value in the innermost container
_BASE = const(6)  # where in the buffer of names the last name in this object lies
LENGTH = const(7)  # and its length
P = const(8)  # length of the name being read
GREATER = const(9)  # whether it is known to come after the last one
_LAX = const(10)  # whether any order of names will do
_DIGITS = const(11)
_WATCH = const(12)  # END, KEY and BEGIN are reported where fewer containers than this are open
_BEGUN = const(13)  # whether BEGIN was reported for the value that comes
_EMIT = const(14)  # _EMITS or 0
_TEXT = const(15)  # 15; 0 while the input is the unescaped text of a string
_ROOM = const(16)  # size of the buffer of names
_STATE_WORDS = const(17)

# States: what is expected.
_VALUE = const(0)
_FIRST_VALUE = const(1)  # or the end of the array
_NAME = const(2)
_FIRST_NAME = const(3)  # or the end of the object
_NEXT_VALUE = const(4)  # a comma or the end of the array
_NEXT_NAME = const(5)  # a comma or the end of the object
_FINISHED = const(6)
_COLON = const(7)
_ZERO = const(8)  # no digit
_NUMBER = const(9)  # perhaps more digits
_STRING = const(10)
NAME_STRING = const(11)

# What to do, by state (rows) and class of the byte (columns): `":,{}[]`, 0, 1 to 9, `-tfn`, `.eE`, white space, others.
_COLUMNS = const(13)
_GRAMMAR = const(
    b"S00O0A0ZDL0I0"
    b"S00O0AFZDL0I0"
    b"N0000000000I0"
    b"N000F000000I0"
    b"00H000F0000I0"
    b"00M0F000000I0"
    b"00000000000I0"
    b"0K000000000I0"
    b"EEEEEEE00EREE"
    b"EEEEEEEGGEREE"
)
_WHITE = const(9)  # I
# By the low four bits of those letters: flags, and the next state (or with _STOPS the event).
#          0   A   R   S   D   E   F   G   H   I   Z   K   L   M   N   O
_FLAGS = const(b"\x08\x27\x08\x07\x17\x80\xc3\x13\x03\x01\x07\x03\x0c\x03\x03\x27")
_NEXTS = const(b"\x0b\x01\x0c\x0a\x09\x00\x00\x09\x00\x00\x08\x00\x0a\x02\x0b\x03")
_TAKES = const(1)  # the byte
_EMITS = const(2)
_BEGINS = const(4)  # a value
_STOPS = const(8)
_COUNTS = const(16)  # a digit
_OPENS = const(32)  # a container
_CLOSES = const(64)
_ENDS = const(128)  # a value

# By byte: in the low four bits the column of the grammar, in the high ones the event in a string.
_CLASSES = bytearray(b"\xbc" * 32 + b"\x0c" * 96 + b"\x9c" * 128)
_SPECIAL = b'"\x10\\\x8c:\x01,\x02{\x03}\x04[\x05]\x060\x07-\x09t\x09f\x09n\x09.\x0ae\x0aE\x0a \x0b\t\xbb\n\xbb\r\xbb'
for _at in range(0, len(_SPECIAL), 2):
    _CLASSES[_SPECIAL[_at]] = _SPECIAL[_at + 1]
_CLASSES[0x31:0x3A] = b"\x08" * 9

_WORDS = const((b"true", b"false", b"null"))


@micropython.viper
def _text(s: ptr32, src: ptr8, dst: ptr8, last: ptr8) -> int:
    """Reads in a string, to its end or to what needs attention."""
    classes = ptr8(_CLASSES)
    i = int(s[_I])
    j = int(s[_J])
    p = int(s[P])
    named = int(s[STATE]) - _STRING
    event = _GO
    while event == _GO:
        if i >= int(s[_N]):
            event = _MORE
            break
        if j > _FULL:
            event = _FLUSH
            break
        c = int(src[i])
        event = (int(classes[c]) >> 4) & int(s[_TEXT])
        if event > END:
            break
        if event == _GO and named != 0:
            at = int(s[_BASE]) + p
            if at >= int(s[_ROOM]):
                event = GROW
                break
            if int(s[GREATER]) == 0:
                if p < int(s[LENGTH]) and c <= int(last[at]):
                    if c < int(last[at]):
                        event = UNORDERED
                        break
                else:
                    s[GREATER] = 1
            last[at] = c
            p += 1
        if int(s[_EMIT]) != 0:
            dst[j] = c
            j += 1
        i += 1
    s[_I] = i
    s[_J] = j
    s[P] = p
    return event


@micropython.viper
def _nest(s: ptr32, stack: ptr32, following: int) -> int:
    """Enters the container whose first state is following, or leaves the innermost one when it is 0."""
    depth = int(s[_DEPTH])
    if following == 0:
        outer = int(stack[depth - 1])
        s[_DEPTH] = depth - 1
        s[_AFTER] = outer & 7
        s[LENGTH] = outer >> 3
        s[_BASE] = int(s[_BASE]) - (outer >> 3)
        s[GREATER] = s[_LAX]
        return _GO
    if depth == MAX_DEPTH:
        return _BAD_DEPTH
    stack[depth] = (int(s[LENGTH]) << 3) + int(s[_AFTER])
    s[_DEPTH] = depth + 1
    s[_BASE] = int(s[_BASE]) + int(s[LENGTH])
    s[LENGTH] = 0
    s[GREATER] = 1  # than nothing
    s[_AFTER] = _NEXT_VALUE + (following >> 1)
    return _GO


@micropython.viper
def _run(s: ptr32, src: ptr8, dst: ptr8, levels: ptr32, names: ptr8) -> int:  # noqa: C901, PLR0912 - calls are dear
    """Reads on until something needs attention, and says what."""
    grammar = ptr8(_GRAMMAR)
    classes = ptr8(_CLASSES)
    while True:
        state = int(s[STATE])
        watched = int(s[_DEPTH]) < int(s[_WATCH])
        if state >= _STRING:
            event = int(_text(s, src, dst, names))
            if event != END:
                return event
            if state == NAME_STRING:
                if int(s[GREATER]) == 0:
                    return UNORDERED
                s[LENGTH] = s[P]
                s[GREATER] = s[_LAX]
                s[STATE] = _COLON
                if watched:
                    return KEY
                continue
        else:
            i = int(s[_I])
            j = int(s[_J])
            if i >= int(s[_N]):
                return _MORE
            if j > _FULL:
                return _FLUSH
            c = int(src[i])
            action = int(grammar[_COLUMNS * state + (int(classes[c]) & 15)]) & 15
            flags = int(ptr8(_FLAGS)[action])
            following = int(ptr8(_NEXTS)[action])
            if flags & _BEGINS:
                if watched and int(s[_BEGUN]) == 0:
                    s[_BEGUN] = 1
                    return BEGIN
                s[_BEGUN] = 0
                s[_DIGITS] = 0
            if flags & _STOPS:
                return following
            s[_I] = i + (flags & _TAKES)
            if flags & int(s[_EMIT]):
                dst[j] = c
                s[_J] = j + 1
            s[P] = 0
            if action != _WHITE:
                s[STATE] = following
            if flags & _COUNTS:
                s[_DIGITS] = int(s[_DIGITS]) + 1
            if flags & (_OPENS | _CLOSES) and int(_nest(s, levels, following)) != _GO:
                return _BAD_DEPTH
            if flags & _ENDS == 0:
                continue
        if int(s[_DIGITS]) > MAX_DIGITS:
            return _BAD_NUMBER
        s[STATE] = s[_AFTER]
        if int(s[_DEPTH]) < int(s[_WATCH]):
            return END


_NEW = array("i", [0] * _STATE_WORDS)


class Unordered(Exception):
    """Members are not in the order of the canonical form: the document must be put in order first."""


class Scanner:
    """Reads slices of a stream, one after the other. Its 0.7 KB of buffers are made once."""

    def __init__(self) -> None:
        self._words = array("i", _NEW)
        self._levels = array("i", [0] * MAX_DEPTH)
        self._in = bytearray(_BUFFER)
        self._out = bytearray(_OUT)
        self._names = bytearray(_OUT)

    def start(self, name: str, stream: "Stream", begin: int, end: int, watch: int, ordered: bool = True) -> None:
        """Prepares to read the one value in bytes begin to end of the stream.

        watch: how many levels to report by KEY, BEGIN and END; 0: none, 1: the value itself, 2: what is directly
        in it, too.
        name: of the file, for error sentences.
        """
        words = self._words
        words[:] = _NEW
        words[_WATCH] = watch
        words[_AFTER] = _FINISHED
        words[_TEXT] = 15
        words[_ROOM] = len(self._names)
        words[_LAX] = 0 if ordered else 1
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
        self._words[_EMIT] = _EMITS if update else 0

    def watch(self, levels: int) -> None:
        """Changes how many levels are reported."""
        self._words[_WATCH] = levels

    def peek(self) -> int:
        """The first byte, right after start()."""
        self._fill()
        return self._in[0]

    def position(self) -> int:
        """Offset in the stream of the next byte to be read."""
        return self._next - self._words[_N] + self._words[_I]

    def depth(self) -> int:
        """How many containers are open."""
        return self._words[_DEPTH]

    def key(self) -> bytes:
        """The name that the last KEY was about, unescaped, in UTF-8."""
        base = self._words[_BASE]
        return bytes(self._names[base : base + self._words[LENGTH]])

    def step(self) -> int:
        """Reads on to the next KEY, BEGIN, END, or to DONE.

        Raises UpdateError E_FORMAT or E_LIMIT for what is refused, Unordered where members are not in order.
        """
        while True:
            event: int = _run(self._words, self._in, self._out, self._levels, self._names)
            if event <= DONE:
                return event
            if event == _MORE and not self._fill():
                return self._finish()
            if event == _WORD and self._word():
                return END
            self._attend(event)

    def _attend(self, event: int) -> None:
        """Does what the viper functions leave to others."""
        if event == _FLUSH:
            self.flush()
        elif event == GROW:
            if len(self._names) >= MAX_NAMES:
                self.refuse(GROW)
            self._names += bytearray(len(self._names))
            self._words[_ROOM] = len(self._names)
        elif event == _ESCAPE or event == _HIGH:
            from heirloom.device.jsontext import escape, utf8

            self._inject(escape(self) if event == _ESCAPE else utf8(self))
        elif event > _WORD:
            self.refuse(event)

    def refuse(self, event: int = BAD) -> None:
        """Raises the error for what stands here."""
        from heirloom.device.jsontext import refuse

        refuse(self, self._words, event)

    def _finish(self) -> int:
        words = self._words
        if words[STATE] in (_ZERO, _NUMBER) and not words[_DEPTH]:
            self._ended()
            if words[_WATCH]:
                return END
        if words[STATE] != _FINISHED:
            self.refuse()
        self.emit(None)
        return DONE

    def _ended(self) -> None:
        if self._words[_DIGITS] > MAX_DIGITS:
            self.refuse(_BAD_NUMBER)
        self._words[STATE] = self._words[_AFTER]

    def _fill(self) -> bool:
        """Reads the next buffer. False at the end of the slice."""
        wanted = self._end - self._next
        if wanted <= 0:
            return False
        self._stream.seek(self._next)
        got = min(self._stream.readinto(self._in) or 0, wanted)
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

    def _put(self, data: bytes) -> None:
        """Emits a few bytes as they are."""
        words = self._words
        if words[_EMIT]:
            self.flush()
            self._out[: len(data)] = data
            words[_J] = len(data)

    def byte(self) -> int:
        """Takes the next byte of the input, whatever it is."""
        words = self._words
        if words[_I] >= words[_N] and not self._fill():
            self.refuse()
        value = self._in[words[_I]]
        words[_I] += 1
        return value

    def _inject(self, text: bytes) -> None:
        """Goes on as if this character, unescaped, stood in the string."""
        words = self._words
        i, n = words[_I], words[_N]
        if text in b'"\\':
            self._put(b"\\")
        words[_I] = words[_TEXT] = 0
        words[_N] = len(text)
        while True:
            event = _text(words, text, self._out, self._names)
            if event == _MORE:
                break
            self._attend(event)
        words[_I], words[_N] = i, n
        words[_TEXT] = 15

    def _word(self) -> bool:
        """Reads true, false, null, or a minus with the first digit. Whether an END is to be reported."""
        words = self._words
        first = self.byte()
        if first == 0x2D:
            digit = self.byte()
            if not 0x30 <= digit <= 0x39:
                self.refuse(_BAD_NUMBER)
            self._put(b"0" if digit == 0x30 else bytes([first, digit]))  # "-0" is "0"
            words[STATE] = _ZERO if digit == 0x30 else _NUMBER
            words[_DIGITS] = 1
            return False
        for word in _WORDS:
            if word[0] == first:
                for c in word[1:]:
                    if self.byte() != c:
                        self.refuse()
                self._put(word)
        words[STATE] = words[_AFTER]
        return words[_DEPTH] < words[_WATCH]
