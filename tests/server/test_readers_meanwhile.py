"""Readers and publishers at the same time."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import urllib3

from heirloom.server.store import Store
from heirloom.signing.repository import Repository

PUBLISHES = 20
READERS = 3

_PUBLISHER = """
import sys
from heirloom.cli.main import main
sys.stdin.readline()
main(["channel", "set", sys.argv[1], "1.0.0"])
"""


def test_readers_never_see_a_mixture(product, repository, serve, make_client):
    """Stock clients start from scratch again and again, while twenty releases are published, some with a new root."""
    store = Store(repository)
    first = product.release("1.0.0")
    first.commit(store)
    root = first.metadata["1.root.json"]
    pool = urllib3.PoolManager()
    done = threading.Event()

    def read(reader: int) -> list[int]:
        seen = []
        for number in count():
            last_round = done.is_set()
            client = make_client(f"{reader}-{number}", serve, root)
            version, content = client.stable()
            for digest in content.decode().splitlines()[1:]:
                assert pool.request("GET", f"{serve}blobs/{digest}").status == 200
            seen.append(int(version.split(".")[1]))
            if last_round:
                return seen
        raise AssertionError

    with ThreadPoolExecutor(READERS) as readers:
        results = [readers.submit(read, number) for number in range(READERS)]
        try:
            for number in range(1, PUBLISHES + 1):
                product.release(f"1.{number}.0", root=number % 5 == 0).commit(store)
        finally:
            done.set()
    for result in results:
        seen = result.result()
        assert seen == sorted(seen), "a reader was sent back in time"
        assert seen[-1] == PUBLISHES
        assert len(set(seen)) > 2, "the reader was too slow to prove anything"


def test_many_publishers_at_once(project):
    """Four programs move four channels at the same moment; each succeeds, and none undoes what another did."""
    before = Repository(project.repository).timestamp().signed.version
    names = [f"channel-{number}" for number in range(4)]
    command = [sys.executable, "-c", _PUBLISHER]
    pipe = subprocess.PIPE
    programs = [subprocess.Popen([*command, name], stdin=pipe, stdout=pipe, stderr=pipe, text=True) for name in names]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        _, err = program.communicate(timeout=60)
        assert (program.returncode, err) == (0, "")
    repository = Repository(project.repository)
    assert set(repository.channels("SIM_RPI_PICO_W")) == {"stable", *names}
    assert repository.timestamp().signed.version == before + 4
