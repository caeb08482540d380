"""Runs on MicroPython: the sums of edwards_registers and of edwards must be the same points. Prints how many were."""

import random

from heirloom.device import ed25519, edwards, edwards_registers
from heirloom.device.comb import MemoryTable

L = (1 << 252) + 27742317777372353535851937790883648493
KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1, test 1


def some(count):
    return bytes([random.getrandbits(8) for _ in range(count)])


random.seed(1)
rows = []
ed25519.make_table(KEY, rows.append)
tables = [b"".join(rows), some(96 * 17), b"\xff" * 96 * 17, bytes(96 * 17)]
scalars = [0, 1, 2, L - 1, L - 2, (L - 1) // 2]
same = 0
for data in tables:
    for number in range(10):
        s = int.from_bytes(some(32), "little") % L if number < 6 else scalars[number - 6]
        k = int.from_bytes(some(32), "little") % L if number % 3 else scalars[number % 6]
        found = [ed25519.combine(s, k, MemoryTable(data), module.Sum()) for module in (edwards, edwards_registers)]
        if found[0] != found[1]:
            print("different", data[:4], s, k, found)
        same += found[0] == found[1]
print("same", same)
