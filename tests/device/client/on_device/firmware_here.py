# On a real MicroPython in an emulator, over its serial line: a place that serves the firmware which runs, with some
# bytes changed, and what the client makes of it.
import heirloom_boot

CHANGES = {}  # offset: bytes; set by the test
served = []


class Places:
    def open(self, path, offset=0):
        served.append(offset)
        return Answer(offset)

    def next(self):
        pass


class Answer:
    def __init__(self, offset):
        from heirloom.device.firmware import Image

        self.image = Image()
        self.offset = self.at = offset
        self.length = self.image.length - offset
        self.image.seek(offset)

    def readinto(self, buffer):
        count = self.image.readinto(buffer)
        for place, data in CHANGES.items():
            for index, byte in enumerate(data):
                if self.at <= place + index < self.at + count:
                    buffer[place + index - self.at] = byte
        self.at += count
        return count


def install():
    fetched = heirloom_boot.client("install").install(Places(), lambda done, total: print("brought", done))
    print("fetched", fetched["bytes"], "from", served)
