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
_OUT = const(256)  # bytes of output
_FULL = const(252)  # of them: one step emits at most three
_NAMES = const(128)  # bytes for names, at first
MAX_NAMES = const(4096)  # bytes: names of the members on the way from the top to here

# Events, first those for the caller of step().
_GO = const(0)  # nothing: go on
END = const(1)  # a value ended at position()
KEY = const(2)  # the name of a member was read: key()
BEGIN = const(3)  # a value begins at position()
DONE = const(4)  # the whole slice was read
MORE = const(5)
_FLUSH = const(6)
GROW = const(7)  # names need more room
ESCAPE = const(8)
HIGH = const(9)  # a byte above 0x7F in a string
_WORD = const(10)  # true, false, null or a minus
BAD = const(11)
BAD_NUMBER = const(12)
_BAD_DEPTH = const(13)
UNORDERED = const(14)

# Words of the state.
I = const(0)  # next byte of the input buffer
N = const(1)  # its length
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
TEXT = const(15)  # 15; 0 while the input is the unescaped text of a string
ROOM = const(16)  # size of the buffer of names
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
ZERO = const(8)  # no digit
NUMBER = const(9)  # perhaps more digits
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
_LONGEST = const(5)


@micropython.viper
def read_text(s: ptr32, src: ptr8, dst: ptr8, last: ptr8) -> int:
    """Reads in a string, to its end or to what needs attention."""
    classes = ptr8(_CLASSES)
    i = int(s[I])
    j = int(s[_J])
    p = int(s[P])
    named = int(s[STATE]) - _STRING
    event = _GO
    while event == _GO:
        if i >= int(s[N]):
            event = MORE
            break
        if j > _FULL:
            event = _FLUSH
            break
        c = int(src[i])
        event = (int(classes[c]) >> 4) & int(s[TEXT])
        if event > END:
            break
        if event == _GO and named != 0:
            at = int(s[_BASE]) + p
            if at >= int(s[ROOM]):
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
    s[I] = i
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
    all_flags = ptr8(_FLAGS)
    nexts = ptr8(_NEXTS)
    while True:
        state = int(s[STATE])
        watched = int(s[_DEPTH]) < int(s[_WATCH])
        if state >= _STRING:
            event = int(read_text(s, src, dst, names))
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
            i = int(s[I])
            j = int(s[_J])
            if i >= int(s[N]):
                return MORE
            if j > _FULL:
                return _FLUSH
            c = int(src[i])
            action = int(grammar[_COLUMNS * state + (int(classes[c]) & 15)]) & 15
            flags = int(all_flags[action])
            following = int(nexts[action])
            if flags & _BEGINS:
                if watched and int(s[_BEGUN]) == 0:
                    s[_BEGUN] = 1
                    return BEGIN
                s[_BEGUN] = 0
                s[_DIGITS] = 0
            if flags & _STOPS:
                return following
            s[I] = i + (flags & _TAKES)
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
            return BAD_NUMBER
        s[STATE] = s[_AFTER]
        if int(s[_DEPTH]) < int(s[_WATCH]):
            return END


_NEW = array("i", [0] * _STATE_WORDS)


class Unordered(Exception):
    """Members are not in the order of the canonical form: the document must be put in order first."""


class Scanner:
    """Reads slices of a stream, one after the other. Its 0.7 KB of buffers are made once."""

    def __init__(self) -> None:
        self.words = array("i", _NEW)
        self._levels = array("i", [0] * MAX_DEPTH)
        self._in = bytearray(_BUFFER)
        self.out = bytearray(_OUT)
        self.names = bytearray(_NAMES)

    def start(self, name: str, stream: "Stream", begin: int, end: int, watch: int, ordered: bool = True) -> None:
        """Prepares to read the one value in bytes begin to end of the stream.

        watch: how many levels to report by KEY, BEGIN and END; 0: none, 1: the value itself, 2: what is directly
        in it, too.
        name: of the file, for error sentences.
        """
        words = self.words
        words[:] = _NEW
        words[_WATCH] = watch
        words[_AFTER] = _FINISHED
        words[TEXT] = 15
        words[ROOM] = len(self.names)
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
        self.words[_EMIT] = _EMITS if update else 0

    def watch(self, levels: int) -> None:
        """Changes how many levels are reported."""
        self.words[_WATCH] = levels

    def peek(self) -> int:
        """The first byte, right after start()."""
        self._fill()
        return self._in[0]

    def position(self) -> int:
        """Offset in the stream of the next byte to be read."""
        return self._next - self.words[N] + self.words[I]

    def depth(self) -> int:
        """How many containers are open."""
        return self.words[_DEPTH]

    def key(self) -> bytes:
        """The name that the last KEY was about, unescaped, in UTF-8."""
        base = self.words[_BASE]
        return bytes(self.names[base : base + self.words[LENGTH]])

    def step(self) -> int:
        """Reads on to the next KEY, BEGIN, END, or to DONE.

        Raises UpdateError E_FORMAT or E_LIMIT for what is refused, Unordered where members are not in order.
        """
        while True:
            event: int = _run(self.words, self._in, self.out, self._levels, self.names)
            if event <= DONE:
                return event
            if event == MORE:
                if not self._fill():
                    return self._finish()
            elif event != _WORD:
                self.attend(event)
            elif self._word():
                return END

    def attend(self, event: int) -> None:
        """Does what the viper functions leave to others."""
        if event == _FLUSH:
            self.flush()
            return
        from heirloom.device import jsontext

        jsontext.attend(self, self.words, event)

    def refuse(self, event: int = BAD) -> None:
        """Raises the error for what stands here."""
        from heirloom.device.jsontext import refuse

        refuse(self, self.words, event)

    def _finish(self) -> int:
        words = self.words
        if words[STATE] in (ZERO, NUMBER) and not words[_DEPTH]:
            if words[_DIGITS] > MAX_DIGITS:
                self.refuse(BAD_NUMBER)
            words[STATE] = words[_AFTER]
            if words[_WATCH]:
                return END
        if words[STATE] != _FINISHED:
            self.refuse()
        self.emit(None)
        return DONE

    def _fill(self) -> bool:
        """Reads the next buffer. False at the end of the slice."""
        wanted = self._end - self._next
        if wanted <= 0:
            return False
        self._stream.seek(self._next)
        got = min(self._stream.readinto(self._in) or 0, wanted)
        self._next += got
        self.words[I] = 0
        self.words[N] = got
        return got > 0

    def flush(self) -> None:
        """Sends on what was emitted so far."""
        length = self.words[_J]
        self.words[_J] = 0
        if self._update and length:
            self._update(memoryview(self.out)[:length])

    def put(self, data: bytes) -> None:
        """Emits a few bytes as they are."""
        words = self.words
        if words[_EMIT]:
            if words[_J] > _OUT - len(data):
                self.flush()
            j = words[_J]
            words[_J] = end = j + len(data)
            self.out[j:end] = data

    def byte(self) -> int:
        """Takes the next byte of the input, whatever it is."""
        words = self.words
        if words[I] >= words[N] and not self._fill():
            self.refuse()
        value = self._in[words[I]]
        words[I] += 1
        return value

    def _word(self) -> bool:
        """Reads true, false, null, or a minus with the first digit. Whether an END is to be reported."""
        words = self.words
        if words[N] < words[I] + _LONGEST:  # so that any of them lies in the buffer whole
            self._next = self.position()
            self._fill()
        begin = words[I]
        for word in _WORDS:
            end = begin + len(word)
            if self._in[begin:end] == word and end <= words[N]:
                words[I] = end
                self.put(word)
                words[STATE] = words[_AFTER]
                return words[_DEPTH] < words[_WATCH]
        from heirloom.device.jsontext import minus

        words[STATE] = minus(self)
        words[_DIGITS] = 1
        return False
