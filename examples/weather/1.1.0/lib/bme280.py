"""Bosch BME280 driver: temperature, pressure and humidity over I2C, in forced mode.

Register names and the compensation formulas (32 and 64 bit integers, section 4.2.3) are those of the
data sheet BST-BME280-DS002.
"""

import time
from struct import unpack

from micropython import const

ADDRESSES = (0x76, 0x77)

_CHIP_ID = const(0x60)
_REG_CALIB_00 = const(0x88)
_REG_ID = const(0xD0)
_REG_CALIB_26 = const(0xE1)
_REG_CTRL_HUM = const(0xF2)
_REG_STATUS = const(0xF3)
_REG_CTRL_MEAS = const(0xF4)
_REG_CONFIG = const(0xF5)
_REG_DATA = const(0xF7)

_OVERSAMPLING_1 = const(1)
_MODE_FORCED = const(1)
_STATUS_MEASURING = const(0x08)
_FILTER_OFF = const(0)
_TIMEOUT_MS = const(100)


def _signed12(value):
    return value - 4096 if value & 0x800 else value


class BME280:
    """One sensor. Raises OSError when the bus or the chip does not answer."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._i2c = i2c
        self._address = address
        self._data = bytearray(8)
        if self._byte(_REG_ID) != _CHIP_ID:
            raise OSError(f"no BME280 at address 0x{address:02x}")
        self._read_calibration()
        self._write(_REG_CONFIG, _FILTER_OFF)

    def read(self):
        """Measures once; returns degrees Celsius, hectopascals and percent relative humidity."""
        self._measure()
        data = self._data
        adc_p = data[0] << 12 | data[1] << 4 | data[2] >> 4
        adc_t = data[3] << 12 | data[4] << 4 | data[5] >> 4
        adc_h = data[6] << 8 | data[7]
        t_fine = self._fine_temperature(adc_t)
        centidegrees = (t_fine * 5 + 128) >> 8
        return (
            centidegrees / 100,
            self._pressure(adc_p, t_fine) / 25600,
            self._humidity(adc_h, t_fine) / 1024,
        )

    def _measure(self):
        self._write(_REG_CTRL_HUM, _OVERSAMPLING_1)  # takes effect with the next write to ctrl_meas
        self._write(_REG_CTRL_MEAS, _OVERSAMPLING_1 << 5 | _OVERSAMPLING_1 << 2 | _MODE_FORCED)
        deadline = time.ticks_add(time.ticks_ms(), _TIMEOUT_MS)
        while self._byte(_REG_STATUS) & _STATUS_MEASURING:
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                raise OSError("BME280 is stuck measuring")
            time.sleep_ms(2)
        self._i2c.readfrom_mem_into(self._address, _REG_DATA, self._data)

    def _read_calibration(self):
        first = self._i2c.readfrom_mem(self._address, _REG_CALIB_00, 26)
        second = self._i2c.readfrom_mem(self._address, _REG_CALIB_26, 7)
        self._t = unpack("<Hhh", first[0:6])
        self._p = unpack("<Hhhhhhhhh", first[6:24])
        h2, h3, e4, e5, e6, h6 = unpack("<hBBBBb", second)
        h4 = _signed12(e4 << 4 | e5 & 0x0F)
        h5 = _signed12(e6 << 4 | e5 >> 4)
        self._h = (first[25], h2, h3, h4, h5, h6)

    def _fine_temperature(self, adc):
        t1, t2, t3 = self._t
        linear = ((adc >> 3) - (t1 << 1)) * t2 >> 11
        offset = (adc >> 4) - t1
        return linear + ((offset * offset >> 12) * t3 >> 14)

    def _pressure(self, adc, t_fine):
        """Pascals in Q24.8."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self._p
        var1 = t_fine - 128000
        var2 = var1 * var1 * p6 + (var1 * p5 << 17) + (p4 << 35)
        var1 = (var1 * var1 * p3 >> 8) + (var1 * p2 << 12)
        var1 = ((1 << 47) + var1) * p1 >> 33
        if var1 == 0:
            raise OSError("BME280 has no calibration data")
        p = (((1048576 - adc) << 31) - var2) * 3125 // var1
        var1 = p9 * (p >> 13) * (p >> 13) >> 25
        var2 = p8 * p >> 19
        return ((p + var1 + var2) >> 8) + (p7 << 4)

    def _humidity(self, adc, t_fine):
        """Percent in Q22.10."""
        h1, h2, h3, h4, h5, h6 = self._h
        v = t_fine - 76800
        slope = ((v * h6 >> 10) * ((v * h3 >> 11) + 32768) >> 10) + 2097152
        v = (((adc << 14) - (h4 << 20) - h5 * v + 16384) >> 15) * ((slope * h2 + 8192) >> 14)
        v -= ((v >> 15) * (v >> 15) >> 7) * h1 >> 4
        return min(max(v, 0), 419430400) >> 12

    def _byte(self, register):
        return self._i2c.readfrom_mem(self._address, register, 1)[0]

    def _write(self, register, value):
        self._i2c.writeto_mem(self._address, register, bytes((value,)))
