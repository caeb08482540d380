"""Keeping the online roles fresh while the server runs."""

import threading
from contextvars import copy_context

from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import note, warn
from heirloom.server.publish import Publisher
from heirloom.signing.metadata import time_text

# Half of the timestamp's life is days: a look every few minutes is soon enough, and a failure is tried again as soon.
_LOOK_EVERY_S = 300.0


class Renewer:
    """A thread that renews what is due. A failure is told and tried again; it never ends the server.

    Args:
        publisher: With the online keys opened.
        look_every_s: Time between two looks.
    """

    def __init__(self, publisher: Publisher, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._publisher = publisher
        self._look_every_s = look_every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="heirloom-renew", daemon=True
        )
        self._told = ""

    def start(self) -> None:
        """Begin; the first look is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after a renewal that is under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(self._look_every_s)

    def _look(self) -> None:
        try:
            self._publisher.store.recover()
            if self._publisher.due():
                renewed = self._publisher.renew()
                note(f"renewed: timestamp {renewed.timestamp} is valid until {time_text(renewed.expires)}")
            self._told = ""
        except HeirloomError as exc:
            self._tell(f"cannot renew: {exc.message}")

    def _tell(self, text: str) -> None:
        # The same trouble every five minutes is told once.
        if text != self._told:
            warn(text)
        self._told = text
