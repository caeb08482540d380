# mypy: ignore-errors
"""The friendly REPL, the raw REPL and raw paste, as shared/runtime/pyexec.c speaks them."""

import sys
from select import POLLIN, poll

from micropython import const

_WINDOW = const(128)
_COMPOUND = ("if", "while", "for", "try", "with", "def", "class", "async")

_stdin = sys.stdin.buffer
_ready = poll()
_ready.register(_stdin, POLLIN)


def run(execute, banner, raw, set_raw):
    """Returns when a soft reset is asked for.

    Args:
        execute: Runs (name, source, kind); None means SystemExit.
        banner: The first line of the friendly REPL.
        raw: Begin in the raw REPL.
        set_raw: Told at each change, because the mode survives a soft reset.
    """
    while True:
        try:
            if (_raw if raw else _friendly)(execute, banner):
                _write("\r\nMPY: soft reboot\r\n" if not raw else "MPY: soft reboot\r\n")
                return
        except KeyboardInterrupt:
            continue
        raw = not raw
        set_raw(raw)


def _write(text):
    sys.stdout.write(text)


def _read():
    _ready.poll()
    byte = _stdin.read(1)
    if not byte:
        while True:  # the host is gone, and so will be this process
            _ready.poll(1000)
    return byte[0]


def _raw(execute, banner):
    """Returns True for a soft reset, False for the friendly REPL."""
    _write("raw REPL; CTRL-B to exit\r\n")
    while True:
        _write(">")
        source = _raw_input()
        if source is None:
            return False
        if source is False:
            return True
        if _run_raw(execute, source):
            return True


def _raw_input():
    """Reads one program. Returns it, None for Ctrl-B, False for a soft reset."""
    source = bytearray()
    while True:
        byte = _read()
        if byte == 1:  # Ctrl-A
            if source == b"\x05A":
                return _raw_paste()
            _write("raw REPL; CTRL-B to exit\r\n>")
            source = bytearray()
        elif byte == 2:  # Ctrl-B
            _write("\r\n")
            return None
        elif byte == 3:  # Ctrl-C
            source = bytearray()
        elif byte == 4:  # Ctrl-D
            _write("OK")
            if not source:
                _write("\r\n")
                return False
            return source
        else:
            source.append(byte)


def _raw_paste():
    """Reads a program under flow control: one Ctrl-A for each window that was taken."""
    _write("R\x01%c\x00\x01" % _WINDOW)
    source = bytearray()
    while True:
        byte = _read()
        if byte == 4:
            _write("\x04")
            return source
        if byte == 3:
            return bytearray()
        source.append(byte)
        if len(source) % _WINDOW == 0:
            _write("\x01")


def _run_raw(execute, source):
    """Returns True if it ended in SystemExit."""
    errors = []
    done = execute("<stdin>", bytes(source), "exec", errors.append)
    _write("\x04")
    for error in errors:
        sys.print_exception(error)
    _write("\x04")
    return done is None


def _friendly(execute, banner):
    """Returns True for a soft reset, False for the raw REPL."""
    _write("\r\n" + banner + '\r\nType "help()" for more information.\r\n')
    while True:
        source = _statement()
        if source == "\x01":
            return False
        if source == "\x02":
            _write("\r\n" + banner + '\r\nType "help()" for more information.\r\n')
        elif source == "\x04":
            return True
        elif source == "\x05":
            source = _paste()
            if source and execute("<stdin>", source, "exec") is None:
                return True
        elif source.strip() and execute("<stdin>", source, "single") is None:
            return True


def _statement():
    """Reads lines until they make a whole statement, or one control character on an empty line."""
    _write(">>> ")
    source = _line(True)
    while source and source[0] > "\x05" and _goes_on(source):
        _write("... ")
        line = _line(False)
        if line == "\x03":
            return ""
        source += "\n" + line
    return "" if source == "\x03" else source


def _goes_on(source):
    """Whether the REPL asks for more lines (py/repl.c, without its look at strings)."""
    depth = 0
    for char in source:
        depth += (char in "([{") - (char in ")]}")
    if depth > 0 or source.endswith("\\"):
        return True
    compound = source.startswith("@") or source.replace(":", " ").split(" ")[0] in _COMPOUND
    return compound and not source.endswith("\n")


def _line(first):
    """Reads and echoes one line. Returns a control character alone if it came on an empty line."""
    line = ""
    while True:
        byte = _read()
        if byte in (13, 10):
            _write("\r\n")
            return line
        if byte == 3:
            _write("\r\n")
            return "\x03"
        if byte in (1, 2, 4, 5) and first and not line:
            return chr(byte)
        if byte in (8, 127):
            if line:
                line = line[:-1]
                _write("\b \b")
        elif byte == 27:
            _escape()
        elif byte >= 32 or byte == 9:
            line += chr(byte)
            _write(chr(byte))


def _escape():
    """Skips an arrow key or its like: this line editor has no history."""
    if _read() == 91:
        while not 64 <= _read() <= 126:
            pass


def _paste():
    """Paste mode: everything up to Ctrl-D, or nothing at Ctrl-C."""
    _write("\r\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== ")
    source = ""
    while True:
        byte = _read()
        if byte in (3, 4):
            _write("\r\n")
            return source if byte == 4 else ""
        char = "\n" if byte == 13 else chr(byte)
        source += char
        _write("\r\n=== " if char == "\n" else char)
