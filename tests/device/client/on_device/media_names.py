# What a medium is asked for, and what it gives, without the client around it.
import os

from heirloom.device.errors import UpdateError
from heirloom.device.media import Media


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def _read(answer):
    data = b""
    chunk = bytearray(7)
    while True:
        count = answer.readinto(chunk)
        if not count:
            return data
        data += chunk[:count]


def _stick():
    for folder in ("/stick", "/stick/metadata", "/stick/deep"):
        os.mkdir(folder)
    _write("/stick/metadata/timestamp.json", b"timestamp")
    _write("/heirloom/device.json", b"secret")
    return Media("/stick")


def a_name_never_leaves_the_folder():
    media = _stick()
    assert _read(media.get("/stick/metadata/timestamp.json")) == b"timestamp"
    for name in (
        "../heirloom/device.json",
        "metadata/../../heirloom/device.json",
        "./metadata/timestamp.json",
        "/heirloom/device.json",
        "metadata//timestamp.json",
        "metadata\\timestamp.json",
        "metadata",
        "deep",
        "",
        "x" * 300,
    ):
        answer = media.get("/stick/" + name)
        assert (answer.status, answer.readinto(bytearray(9))) == (404, 0), name


def it_goes_on_where_a_download_stopped():
    media = _stick()
    url = "/stick/metadata/timestamp.json"
    for offset, status, starts, rest in ((4, 206, 4, b"stamp"), (9, 206, 9, b""), (10, 200, 0, b"timestamp")):
        answer = media.get(url, offset)
        assert (answer.status, answer.offset, answer.length) == (status, starts, len(rest))
        assert _read(answer) == rest
    assert media.requests == 3


def a_card_that_is_pulled_out_is_one_error():
    media = _stick()
    answer = media.get("/stick/metadata/timestamp.json")
    answer._file.close()
    for call in (lambda: _read(answer), lambda: Media("/sd")):
        try:
            call()
        except UpdateError as error:
            assert error.code == "E_NETWORK", error
            continue
        raise AssertionError("not refused")


def it_is_only_read():
    before = sorted(os.listdir("/")), os.statvfs("/")[3]
    media = _stick()
    after = os.statvfs("/")[3]
    assert len(media.news()) == 16
    assert _read(media.get("/stick/metadata/none.json")) == b""
    media.close()
    assert os.statvfs("/")[3] == after and sorted(os.listdir("/")) != before
    assert os.listdir("/stick/metadata") == ["timestamp.json"]
