# The HTTP client and the places, against servers of test_client_http.py. Each function prints one JSON document.
import gc
import hashlib
import json
import time

import micropython

from heirloom.device.errors import UpdateError
from heirloom.device.http import Http
from heirloom.device.places import Places


def _read(response, chunk=300):
    buffer = bytearray(chunk)
    body = b""
    while True:
        count = response.readinto(buffer)
        if not count:
            return body
        body += buffer[:count]
        if len(body) > 100000:
            return body


def fetch(idle_ms, *urls):
    """GETs each URL ("@etag" or "#offset" behind a blank) over one client; a second of grace for slow answers."""
    http = Http(int(idle_ms), 1000)
    seen = []
    for asked in urls:
        url, _, more = asked.partition(" ")
        started = time.ticks_ms()
        try:
            response = http.get(
                url, int(more[1:]) if more[:1] == "#" else 0, more[1:] if more[:1] == "@" else "", more == "tls"
            )
            body = _read(response)
            one = {"status": response.status, "etag": response.etag, "offset": response.offset, "length": len(body)}
            one["text"] = str(body[:40], "utf-8")
        except UpdateError as error:
            one = {"error": str(error)}
        one["ms"] = time.ticks_diff(time.ticks_ms(), started)
        seen.append(one)
    print(
        json.dumps(
            {"seen": seen, "requests": http.requests, "sent": http.sent, "received": http.received, "date": http.date}
        )
    )


def patience(url):
    """Eight answers that trickle quickly enough one by one, in six seconds for all; then one without such a limit."""
    http = Http(1500, 1000)
    http.within(6)
    said = []
    for _ in range(8):
        try:
            said.append(len(_read(http.get(url))))
        except UpdateError as error:
            said.append(str(error))
    http.within(0)
    said.append(len(_read(http.get(url))))
    print(json.dumps(said))


class Sink:
    def __init__(self, limit):
        self.data = b""
        self.limit = limit
        self.length = 0

    def write(self, data):
        self.data += bytes(data)
        self.length += len(data)
        if self.length > self.limit:
            raise UpdateError("E_LENGTH", "too long")

    def restart(self):
        self.data = b""
        self.length = 0


def metadata(limit, etag, tls_only, name, *urls):
    """Fetches a metadata file through Places."""
    http = Http(1000)
    places = Places(http, list(urls), tls_only == "1")
    sink = Sink(int(limit))
    try:
        etag = places.fetch(name, int(limit), sink, etag or None)
        seen = {"etag": etag, "text": str(sink.data, "utf-8"), "first": places.urls()[0]}
    except UpdateError as error:
        seen = {"error": str(error)}
    print(json.dumps(seen))


def no_garbage(url):
    """A full buffer is read without allocating."""
    http = Http(5000)
    response = http.get(url)
    buffer = bytearray(512)
    response.readinto(buffer)  # the rest of the head's buffer
    read = response.readinto
    digest = hashlib.sha256()
    update = digest.update
    time.sleep_ms(300)  # everything has come
    gc.collect()
    full = 0
    micropython.heap_lock()
    try:
        for _ in range(8):
            if read(buffer) == 512:
                full += 1
            update(buffer)
    finally:
        micropython.heap_unlock()
    print(json.dumps({"full": full}))
