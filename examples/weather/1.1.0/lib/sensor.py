"""Finds the BME280 on the bus, or simulates one so that the station runs on any desk."""

from math import sin
from struct import pack_into
from time import ticks_ms

from bme280 import ADDRESSES, BME280

_CHIP_ID = 0x60


def open_sensor(pins, log):
    """Returns a sensor on the I2C bus described by `pins` (id, scl, sda), else a simulated one."""
    try:
        from machine import I2C, Pin

        bus = I2C(pins["id"], scl=Pin(pins["scl"]), sda=Pin(pins["sda"]))
        for address in bus.scan():
            if address in ADDRESSES:
                log.info("BME280 at address 0x%02x", address)
                return BME280(bus, address)
        log.warning("no BME280 on the bus, simulating one")
    except (ImportError, ValueError, OSError) as error:
        log.warning("no I2C bus (%s), simulating a BME280", error)
    return BME280(SimulatedBus())


class SimulatedBus:
    """Stands in for an I2C bus with one BME280: calibrated as the data sheet's example, weather made of slow waves."""

    def __init__(self):
        registers = bytearray(256)
        registers[0xD0] = _CHIP_ID
        pack_into("<Hhh", registers, 0x88, 27504, 26435, -1000)
        pack_into("<Hhhhhhhhh", registers, 0x8E, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
        registers[0xA1] = 75
        pack_into("<hBBBBb", registers, 0xE1, 361, 0, 327 >> 4, 327 & 0x0F, 0, 30)
        self._registers = registers
        self._convert()

    def readfrom_mem(self, address, register, count):
        return bytes(self._registers[register : register + count])

    def readfrom_mem_into(self, address, register, buffer):
        buffer[:] = self._registers[register : register + len(buffer)]

    def writeto_mem(self, address, register, data):
        self._registers[register] = data[0]
        if register == 0xF4:
            self._convert()

    def _convert(self):
        """Fills the data registers the way a finished conversion does."""
        seconds = ticks_ms() / 1000
        self._put20(0xF7, 415148 + int(900 * sin(seconds / 300)))
        self._put20(0xFA, 519888 + int(6000 * sin(seconds / 120)))
        humidity = 28000 + int(1500 * sin(seconds / 200))
        self._registers[0xFD] = humidity >> 8
        self._registers[0xFE] = humidity & 0xFF

    def _put20(self, register, value):
        self._registers[register] = value >> 12
        self._registers[register + 1] = value >> 4 & 0xFF
        self._registers[register + 2] = value << 4 & 0xF0
