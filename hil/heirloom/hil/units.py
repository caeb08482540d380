"""What every unit of a project can do, simulated or at a port: the commands know only this."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from heirloom.boards import Board
from heirloom.cli.errors import HeirloomError


class DeviceError(HeirloomError):
    """Code that was sent to the device raised an exception.

    Attributes:
        traceback: As the device printed it.
    """

    def __init__(self, name: str, traceback: str) -> None:
        last = traceback.strip().splitlines()[-1] if traceback.strip() else "no traceback"
        super().__init__(f"device {name}: {last}", traceback.strip())
        self.traceback = traceback


class Repl(Protocol):
    """A unit that is held at its REPL: boot.py ran, main.py did not, no trial is spent."""

    def exec(self, code: str, timeout_s: float = 10.0) -> str:
        """Run code.

        Returns:
            What it printed, lines ending in a newline.

        Raises:
            DeviceError: The code raised; `traceback` says what.
            HeirloomError: No REPL, or no end, in time.
        """
        ...


class Live(Protocol):
    """A unit whose console is looked at as it comes."""

    @property
    def place(self) -> str:
        """Its serial port, for people."""
        ...

    def read(self) -> str | None:
        """What it said since the last call, lines ending in a newline; None: it has ended, or is gone."""
        ...

    def send(self, data: bytes) -> None:
        """Type at it."""
        ...


class Unit(Protocol):
    """One device. Use it in `with`, or call `close`."""

    @property
    def name(self) -> str:
        """Its name for people."""
        ...

    @property
    def id(self) -> str:
        """What `machine.unique_id()` gives, in hexadecimal."""
        ...

    @property
    def board(self) -> Board:
        """What it is a unit of."""
        ...

    @property
    def directory(self) -> Path:
        """Its folder in the project."""
        ...

    def at_repl(self) -> AbstractContextManager[Repl]:
        """Hold it at its REPL for the block; afterwards it is as it was: off, or running its release after a reset."""
        ...

    def live(self, *, hold_repl: bool) -> AbstractContextManager[Live]:
        """Its console, for the block.

        Args:
            hold_repl: At the REPL, main.py does not run.
        """
        ...

    def serial_port(self) -> AbstractContextManager[str]:
        """Its serial port, for the block and for no other process.

        Returns:
            What `serial.serial_for_url` takes.
        """
        ...

    def loader(self) -> AbstractContextManager[str]:
        """The loader of an ESP32's ROM, for the block.

        Returns:
            What `esptool --port` takes.

        Raises:
            HeirloomError: It has none.
        """
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
