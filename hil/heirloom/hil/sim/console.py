"""What a board said: kept as text, written to a log with times, searched by those who wait for it."""

import re
import time
from pathlib import Path
from typing import TextIO

_KEPT_CHARACTERS = 1 << 20
_LOG_LIMIT_BYTES = 4 << 20


class Console:
    """The output of one device since it was opened. Not locked: its owner does that.

    Args:
        log: The log file. It is begun anew at 4 MiB.
    """

    def __init__(self, log: Path) -> None:
        self._text = ""
        self._dropped = 0
        self._mark = 0
        self._start = time.monotonic()
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.unlink()
        self._log: TextIO = log.open("a", encoding="utf-8")
        self._at_line_start = True

    @property
    def text(self) -> str:
        """Everything said; the last MiB of it."""
        return self._text

    def add(self, data: bytes) -> None:
        """The board said `data`."""
        text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "")
        self._text += text
        if len(self._text) > _KEPT_CHARACTERS:
            cut = len(self._text) - _KEPT_CHARACTERS // 2
            self._text = self._text[cut:]
            self._dropped += cut
        for line in text.splitlines(keepends=True):
            stamp = self._stamp() if self._at_line_start else ""
            self._log.write(stamp + line)
            self._at_line_start = line.endswith("\n")
        self._log.flush()

    def event(self, what: str) -> None:
        """Something happened to the board; it stands in the log, not in the text."""
        newline = "" if self._at_line_start else "\n"
        self._log.write(f"{newline}{self._stamp()}--- {what}\n")
        self._log.flush()
        self._at_line_start = True

    def mark(self) -> None:
        """Later searches begin here."""
        self._mark = self._dropped + len(self._text)

    def find(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The first match after the last one found, or after `mark`."""
        match = pattern.search(self._text, max(0, self._mark - self._dropped))
        if match:
            self._mark = self._dropped + match.end()
        return match

    def since(self, position: int) -> tuple[str, int]:
        """What was said after `position` (0 at first), and the position to ask from next time."""
        end = self._dropped + len(self._text)
        return self._text[max(0, position - self._dropped) :], end

    def tail(self, lines: int = 12) -> str:
        """The last lines, for messages."""
        return "\n".join(self._text.splitlines()[-lines:])

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _stamp(self) -> str:
        return f"[{time.monotonic() - self._start:10.3f}] "
