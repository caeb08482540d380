"""The registers that esptool reads to know a chip, and the SPI controller by which it asks the flash for its size."""

from dataclasses import dataclass

_RDID = 0x9F
_START_USER_COMMAND = 1 << 18
_WINBOND = 0x40EF


@dataclass(frozen=True)
class _Spi:
    """Where a chip has its SPI controller: offsets of USR, USR2 and W0 from `base`."""

    base: int
    command: int
    data: int


_SPI = {
    "esp32": _Spi(0x3FF42000, 0x24, 0x80),
    "esp32c3": _Spi(0x60002000, 0x20, 0x58),
    "esp32s3": _Spi(0x60002000, 0x20, 0x58),
}
# Chips without GET_SECURITY_INFO are known by this; it is a word of their ROM.
_MAGIC_ADDRESS = 0x40001000
_MAGIC = {"esp32": 0x00F01D83}
# Low and high word of the MAC address in the efuses.
_MAC = {
    "esp32": (0x3FF5A004, 0x3FF5A008),
    "esp32c3": (0x60008844, 0x60008848),
    "esp32s3": (0x60007044, 0x60007048),
}
_FIXED = {
    # Revision 3: a bit in each of three places. The UART divides 40 MHz to 115,200 baud.
    "esp32": {0x3FF5A00C: 1 << 15, 0x3FF5A014: 1 << 20, 0x3FF6607C: 1 << 31, 0x3FF40014: 40_000_000 // 115_200},
    "esp32c3": {0x60008850: 3 << 18},  # revision 0.3, the first that was sold
    "esp32s3": {},
}


class Registers:
    """The register space of a chip. What is not described here reads as zero, or as it was written.

    Args:
        chip: As in "esp32c3".
        mac: Its MAC address, 6 bytes.
        flash_size: Bytes of the flash chip.
    """

    def __init__(self, chip: str, mac: bytes, flash_size: int) -> None:
        self._spi = _SPI[chip]
        low, high = _MAC[chip]
        self._words = {
            **_FIXED[chip],
            low: int.from_bytes(mac[2:]),
            high: int.from_bytes(mac[:2]),
            _MAGIC_ADDRESS: _MAGIC.get(chip, 0),
        }
        # As the chip sends it: manufacturer, kind, and the size as a power of two.
        self._flash_id = (flash_size.bit_length() - 1) << 16 | _WINBOND

    def read(self, address: int) -> int:
        """The word at `address`."""
        return self._words.get(address, 0)

    def write(self, address: int, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Write the bits of `mask`; a user command of the SPI controller is carried out at once."""
        if address == self._spi.base:
            if value & _START_USER_COMMAND:
                self._user_command()
            return
        self._words[address] = self.read(address) & ~mask | value & mask

    def _user_command(self) -> None:
        command = self.read(self._spi.base + self._spi.command) & 0xFF
        self._words[self._spi.base + self._spi.data] = self._flash_id if command == _RDID else 0
