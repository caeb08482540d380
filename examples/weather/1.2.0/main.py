"""Garden weather station: samples a BME280, remembers the extremes, warns of storms, prints a status line."""

import asyncio
import sys

if "lib" not in sys.path:  # boards look in /lib by themselves, the unix port does not
    sys.path.append("lib")

import logger
import settings
import statusline
from sensor import open_sensor
from storm import StormWarning

_SAVE_EVERY_S = 60  # extremes reach the flash at most once a minute


class Station:
    """What the tasks share: the sensor, the settings and the newest reading."""

    def __init__(self, config, sensor, log):
        self.config = config
        self.sensor = sensor
        self.line = statusline.StatusLine(config["name"], config["altitude_m"])
        self.storm = StormWarning(self.line.trend, config["storm_drop_hpa"], log)
        self.reading = None
        self.unsaved = False

    def sample(self):
        """Takes one reading and updates the extremes."""
        temperature, pressure, humidity = self.sensor.read()
        temperature += self.config["temperature_offset_c"]
        self.reading = (temperature, pressure, humidity)
        self.line.add(temperature, pressure, humidity)
        self.storm.update()
        self._remember(round(temperature, 1))

    def _remember(self, temperature):
        record = self.config["record"]
        if record["min_c"] is None or temperature < record["min_c"]:
            record["min_c"] = temperature
            self.unsaved = True
        if record["max_c"] is None or temperature > record["max_c"]:
            record["max_c"] = temperature
            self.unsaved = True


async def sample_task(station, log):
    """Reads the sensor for ever; a reading that fails is logged and skipped."""
    while True:
        try:
            station.sample()
        except OSError as error:
            log.warning("sensor does not answer: %s", error)
        await asyncio.sleep(station.config["sample_s"])


async def report_task(station):
    """Prints the status line."""
    while True:
        if station.reading is not None:
            print(station.line.render())
        await asyncio.sleep(station.config["report_s"])


async def save_task(station, log):
    """Keeps the extremes across power cuts without wearing the flash out."""
    while True:
        await asyncio.sleep(_SAVE_EVERY_S)
        if station.unsaved:
            settings.save(station.config)
            station.unsaved = False
            log.debug("settings saved")


async def run():
    config = settings.load()
    log = logger.Logger("weather", config["log_level"])
    config["boots"] += 1
    settings.save(config)
    log.info("%s starting, boot %d", statusline.TITLE, config["boots"])

    station = Station(config, open_sensor(config["i2c"], log), log)
    station.sample()
    await asyncio.gather(
        sample_task(station, log),
        report_task(station),
        save_task(station, log),
    )


asyncio.run(run())
