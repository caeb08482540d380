"""Runs on MicroPython: reads cases, one a line, and prints a verdict for each: 1, 0, or E for an exception.

A line is: kind, table (0 or 1), key, signature, message; hexadecimal, `-` when empty. See crypto_cases.py.
"""

import gc
import hashlib
import sys
from binascii import unhexlify

from heirloom.device import comb, der, ed25519, p256, rsapss
from heirloom.device.sha512 import Sha512


class Tables:
    """The table of the key that was asked for last."""

    def __init__(self):
        self.name = None
        self.table = None

    def get(self, module, key):
        if self.name != (module, key):
            rows = []
            self.name = None
            module.make_table(key, rows.append)
            self.name = (module, key)
            self.table = comb.MemoryTable(b"".join(rows))
        return self.table


TABLES = Tables()


def in_pieces(message, update):
    view = memoryview(message)
    for start in range(0, len(message), 61):
        update(view[start : start + 61])


def verdict(kind, with_table, key, signature, message):
    if kind == "rsa":
        n, e = key.split(":")
        digest = hashlib.sha256(data(message)).digest()
        return rsapss.verify(int(n, 16), int(e, 16), data(signature), digest)
    key = data(key)
    signature = data(signature)
    message = data(message)
    module = ed25519 if kind == "ed25519" else p256
    try:
        table = TABLES.get(module, key) if with_table else None
    except ValueError:
        return False  # such a key can have no table
    if kind == "ed25519":
        return ed25519.verify(key, signature, lambda update: in_pieces(message, update), table)
    digest = message if kind == "p256-digest" else hashlib.sha256(message).digest()
    return p256.verify(key, signature, digest, table)


def read_key(encoded):
    """One line for a key: what was found in it, or why not."""
    try:
        kind, material = der.public_key(encoded)
    except ValueError:
        return "refused"
    return kind + " " + ("{:x}:{:x}".format(*material) if kind == "rsa" else material.hex())


def sha512(message, split):
    """Of the message fed in two pieces, and one in steps of a single byte after that."""
    digest = Sha512()
    digest.update(message[:split])
    digest.update(message[split:])
    return bytes(digest.digest()).hex()


def data(text):
    return b"" if text == "-" else unhexlify(text)


def main(path):
    with open(path) as lines:  # noqa: PTH123, MicroPython has no pathlib
        for line in lines:
            fields = line.split()
            gc.collect()
            try:
                if fields[0] == "key":
                    print(read_key(data(fields[1])))
                elif fields[0] == "pem":
                    print(read_key(data(fields[1]).decode()))
                elif fields[0] == "sha512":
                    print(sha512(data(fields[2]), int(fields[1])))
                else:
                    print(int(verdict(fields[0], fields[1] == "1", *fields[2:])))
            except Exception as error:  # noqa: BLE001, the host judges it
                print("E", repr(error))


main(sys.argv[1])
