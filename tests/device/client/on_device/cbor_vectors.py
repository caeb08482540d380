# The vectors of test_client_cbor.py and test_client_manifest.py.
import binascii
import json

from heirloom.device import cbor
from heirloom.device.errors import UpdateError
from heirloom.device.manifest import Manifest


def _load(path):
    with open("/host" + path) as file:
        return json.load(file)


def verdicts(path):
    vectors = _load(path)
    for item in vectors["taken"]:
        data = binascii.unhexlify(item)
        assert cbor.encode(cbor.decode(data)) == data, item
    for item in vectors["refused"]:
        try:
            cbor.decode(binascii.unhexlify(item))
        except cbor.CborError:
            continue
        raise AssertionError(item)
    print(len(vectors["taken"]), len(vectors["refused"]))


def manifests(path):
    vectors = _load(path)
    for item in vectors["taken"]:
        data = binascii.unhexlify(item)
        assert Manifest.decode(data).encode() == data, item
    for item, said in vectors["refused"]:
        try:
            Manifest.decode(binascii.unhexlify(item))
        except UpdateError as error:
            assert error.code == "E_MANIFEST"
            continue
        raise AssertionError((item, said))
    print(len(vectors["taken"]), len(vectors["refused"]))
