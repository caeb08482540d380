# heap: 128k
# The patcher by itself: what its tests on the host send is applied here, on the real interpreter.
import binascii
import gc
import io
import json
import sys

import micropython

from heirloom.device import patching
from heirloom.device.errors import UpdateError


class Sink:
    """Keeps what comes, and refuses more than `room` bytes."""

    def __init__(self, room):
        self.data = bytearray()
        self.room = room

    def write(self, data):
        if len(self.data) + len(data) > self.room:
            raise AssertionError("more than was signed")
        self.data.extend(data)


def answer_lines(_):
    """Each line is JSON [patch, old, length], in hexadecimal; answers with what came of it, until there are no more."""
    for line in sys.stdin:
        patch, old, length = json.loads(line)
        sink = Sink(length)
        try:
            patching.apply(io.BytesIO(binascii.unhexlify(patch)), io.BytesIO(binascii.unhexlify(old)), sink, length)
            print("= " + str(binascii.hexlify(sink.data), "ascii"))
        except UpdateError as error:
            print(error)
        gc.collect()


class Locked:
    """Bytes without an end that are not in memory; from the second chunk on, nothing may be allocated."""

    def __init__(self):
        self.chunks = 0

    def readinto(self, buffer):
        if len(buffer) == 1024:
            self.chunks += 1
            if self.chunks == 4:
                micropython.heap_lock()
        for index in range(len(buffer)):
            buffer[index] = index & 255
        return len(buffer)

    def seek(self, offset):
        assert offset == 0


class Counting:
    def __init__(self):
        self.length = 0
        self.wrong = 0

    def write(self, data):
        self.length += len(data)
        if self.length == 64 * 1024:
            micropython.heap_unlock()
        for index in range(len(data)):
            if data[index] != (2 * index + 1) & 255:
                self.wrong += 1


class Plus:
    """An inflated patch: 64 KiB that are the old ones plus their place in the chunk plus one."""

    def __init__(self):
        self.head = b"\x00\x80\x80\x08\x00\x80\x80\x08"  # sequential, none; 65536 bytes; no data format; 65536 to add
        self.at = 0
        self.rest = b"\x00\x00"  # nothing extra, no move

    def readinto(self, buffer):
        if len(buffer) == 1:
            source = self.head if self.at < len(self.head) else self.rest
            at = self.at if self.at < len(self.head) else self.at - len(self.head)
            if at >= len(source):
                return 0
            buffer[0] = source[at]
            self.at += 1
            return 1
        for index in range(len(buffer)):
            buffer[index] = (index + 1) & 255
        return len(buffer)


def full_chunks_allocate_nothing():
    source, sink = Locked(), Counting()
    assert patching.Patcher(Plus(), source, sink).run(64 * 1024) == 64 * 1024
    assert (source.chunks, sink.length, sink.wrong) == (64, 64 * 1024, 0)


def it_needs_little_memory(path, old, length):
    """How many bytes it takes at once, buffers and window included; all is read from files, and goes nowhere."""
    sink = Most()
    gc.collect()
    sink.before = gc.mem_alloc()
    with open("/host" + path, "rb") as patch, open("/host" + old, "rb") as source:
        patching.apply(patch, source, sink, int(length))
    print(sink.most - sink.before)


class Most:
    before = most = 0

    def write(self, data):
        gc.collect()
        self.most = max(self.most, gc.mem_alloc())
