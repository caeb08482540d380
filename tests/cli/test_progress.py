"""A progress bar at a terminal, and a question in the middle of it."""

import os
import pty
import select
import subprocess
import sys
import time

ASKS = """
from heirloom.cli.output import confirm, progress
with progress("working", 100) as bar:
    bar.advance(10)
    with bar.paused():
        confirm("Replace it?")
    bar.step("going on", 50)
    bar.advance(20)
print("END")
"""


def test_a_question_is_seen_although_a_bar_is_shown() -> None:
    terminal, other = pty.openpty()
    said, answered, deadline = b"", False, time.monotonic() + 60
    environment = {**os.environ, "TERM": "xterm"}  # a dumb terminal is shown no bar
    command = [sys.executable, "-c", ASKS]
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment) as running:
        while b"END" not in said and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                said += os.read(terminal, 4096)
            if b"Replace it? [y/N]" in said and not answered:
                os.write(terminal, b"y\n")
                answered = True
        running.kill()
    os.close(terminal)
    os.close(other)
    assert answered, said
    assert b"END" in said
    assert b"going on" in said
