"""Download mode of a simulated ESP32: its ROM loader at a loopback socket, so that esptool finds it at `socket://`."""

import selectors
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from heirloom.hil.sim.esp32.nor import NorFlash, PowerCut
from heirloom.hil.sim.esp32.rom import MAX_REQUEST_BYTES, RomLoader
from heirloom.hil.sim.esp32.slip import Decoder, encode

_READ_BYTES = 65536


class DownloadMode:
    """A unit that was switched on with its boot pin held low. Use it in `with`.

    Each connection is a new power-on of the loader. It ends with the block, or when the flash loses its power.

    Args:
        chip: As in "esp32c3".
        mac: Its MAC address, 6 bytes.
        flash: Its flash; it is closed at the end.
        release: Called at the end.

    Attributes:
        url: For `esptool --port`.
        cut: Whether the power has failed.
    """

    def __init__(self, chip: str, mac: bytes, flash: NorFlash, release: Callable[[], None]) -> None:
        self.cut = False
        self._release = release
        self._chip, self._mac, self._flash = chip, mac, flash
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"rom {self.url}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_writer.close()
        self._thread.join()
        self._listener.close()
        self._stop_reader.close()
        self._flash.close()
        self._release()

    @property
    def operations(self) -> int:
        """Flash operations so far: erased sectors and programmed pages."""
        return self._flash.operations

    def _serve(self) -> None:
        while not self.cut and self._ready(self._listener):
            line, _ = self._listener.accept()
            with line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._talk(line)

    def _talk(self, line: socket.socket) -> None:
        loader = RomLoader(self._chip, self._mac, self._flash)
        decoder = Decoder(MAX_REQUEST_BYTES)
        try:
            while self._ready(line) and (data := line.recv(_READ_BYTES)):
                for frame in decoder.feed(data):
                    for answer in loader.answer(frame):
                        line.sendall(encode(answer))
        except PowerCut:
            self.cut = True
        except ConnectionError:  # the other end is gone
            return

    def _ready(self, source: socket.socket) -> bool:
        """Waits until something comes from `source`; False: it is time to stop."""
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            selector.register(self._stop_reader, selectors.EVENT_READ)
            return all(key.fileobj is source for key, _ in selector.select())
