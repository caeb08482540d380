"""A resource: what is known of a device before anybody touches it. Data only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.boards import Board, load


@dataclass(frozen=True)
class Resource:
    """A device of a rig, or one that is made for a test.

    Attributes:
        name: For people, unique in its rig.
        driver: Which driver drives it, one of `heirloom.boards.model.DRIVERS`.
        board: Name of its board.
        definition: File of an own board.
        image: The firmware that an emulator runs; None: found in the folder of images.
        serial_number: Of its USB port, as the system says it; physical devices only.
        hub_port: Where it is plugged in, as in "1-1.4"; physical devices only.
        power: How its power is switched: "on", "off" and "cycle", each a program with its arguments.
        reset: How it is reset: "power" (off and on) or "soft" (by code at its REPL).
        network: Name of the Wi-Fi that it joins; None: it has none, or an emulated one.
        host: Under which address devices reach this machine; physical devices only.
        password_env: The environment variable that holds the password of that network.
        port: An address for pyserial, as of a pseudo-terminal; a rig's file never names one.
        by_stick: Updates reach it on a stick, although it has a network.
    """

    name: str
    driver: str
    board: str
    definition: Path | None = None
    image: Path | None = None
    serial_number: str | None = None
    hub_port: str | None = None
    power: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reset: str = "power"
    network: str | None = None
    host: str | None = None
    password_env: str | None = None
    by_stick: bool = False
    port: str | None = None

    def load_board(self) -> Board:
        """Its board.

        Raises:
            HeirloomError: It is unknown, or its definition is wrong.
        """
        return load(self.board, self.definition)
