# /app on a real littlefs.
import binascii
import hashlib
import os
import sys

import heirloom_boot as boot

from heirloom.device.appfs import AppFS
from heirloom.device.manifest import Manifest


def install(files, keep=(), slot="a"):
    """Puts the blobs and the manifest of a release on flash."""
    entries = []
    for path, text in sorted(files.items()):
        data = text if isinstance(text, bytes) else text.encode()
        sha256 = hashlib.sha256(data).digest()
        with open("/heirloom/blobs/" + str(binascii.hexlify(sha256), "ascii"), "wb") as file:
            file.write(data)
        entries.append((path, len(data), sha256))
    manifest = Manifest(
        product="p", board="b", version="1", epoch=0, sequence=1, files=entries, keep=list(keep), install="reboot"
    )
    with open(boot.slot_path(slot), "wb") as file:
        file.write(manifest.encode())


FILES = {
    "main.py": "import helper\nprint('main', __name__)\n",
    "helper.py": "VALUE = 1\n",
    "lib/dep.py": "VALUE = 2\n",
    "lib/pack/__init__.py": "from pack.inner import VALUE\n",
    "lib/pack/inner.py": "VALUE = 3\n",
    "lib-x/note.txt": "x" * 5000,
    "settings.json": "{}",
    "www/index.html": "<p>",
}


def mounted(keep=("settings.json", "cache")):
    install(FILES, keep)
    boot.mount("a")
    os.chdir("/app")


def refuses(call, number):
    try:
        call()
    except OSError as error:
        assert error.errno == number, error
        return
    raise AssertionError("not refused")


def reads_and_lists():
    mounted()
    assert os.getcwd() == "/app"
    assert open("main.py").read() == FILES["main.py"]
    assert open("/app/lib/pack/inner.py", "rb").read() == b"VALUE = 3\n"
    assert open("./lib/../www/index.html").read() == "<p>"
    assert sorted(os.listdir()) == ["helper.py", "lib", "lib-x", "main.py", "settings.json", "www"]
    assert sorted(os.listdir("/app/lib")) == ["dep.py", "pack"]
    assert sorted(os.listdir("lib/pack")) == ["__init__.py", "inner.py"]
    assert list(os.ilistdir("lib-x")) == [("note.txt", 0x8000, 0, 5000)]
    assert os.stat("main.py")[6] == len(FILES["main.py"]) and os.stat("main.py")[0] == 0x8000
    assert os.stat("lib")[0] == 0x4000 and os.stat("/app")[0] == 0x4000
    for missing in ("nothing", "lib/nothing", "li", "lib/pac", "main.py/x"):
        refuses(lambda path=missing: os.stat(path), 2)
        refuses(lambda path=missing: open(path), 2)
    refuses(lambda: open("lib"), 21)
    refuses(lambda: os.listdir("main.py"), 20)
    assert os.statvfs("/app") == os.statvfs("/")


def another_path_with_the_same_mark_is_not_there():
    from heirloom.device.appfs import _mark

    mounted()
    number = 0
    while _mark("x%d" % number) != _mark("main.py"):
        number += 1
    refuses(lambda: os.stat("x%d" % number), 2)


def changes_directory():
    mounted()
    os.chdir("lib/pack")
    assert os.getcwd() == "/app/lib/pack"
    assert open("inner.py").read() == "VALUE = 3\n"
    os.chdir("..")
    assert os.getcwd() == "/app/lib"
    refuses(lambda: os.chdir("dep.py"), 20)
    refuses(lambda: os.chdir("nothing"), 2)
    os.chdir("/")
    assert "heirloom" in os.listdir()
    os.chdir("/app")
    assert os.getcwd() == "/app"


def imports_packages_and_runs_main():
    mounted()
    import dep
    import helper
    import pack

    assert (helper.VALUE, dep.VALUE, pack.VALUE) == (1, 2, 3)
    assert pack.__file__ == "/app/lib/pack/__init__.py"
    execfile("/app/main.py", {"__name__": "__main__"})


def imports_bytecode():
    with open(
        next(path for path in sys.path if path.startswith("/host")) + "/heirloom/device/errors.mpy", "rb"
    ) as file:
        data = file.read()
    install({"main.py": "", "lib/coded.mpy": data})
    boot.mount("a")
    import coded

    assert coded.E_SPACE == "E_SPACE"


def is_read_only():
    mounted()
    refuses(lambda: open("main.py", "w"), 30)
    refuses(lambda: open("new.txt", "a"), 30)
    refuses(lambda: open("main.py", "r+"), 30)
    refuses(lambda: os.remove("main.py"), 30)
    refuses(lambda: os.rename("main.py", "x.py"), 30)
    refuses(lambda: os.rename("settings.json", "x.json"), 30)
    refuses(lambda: os.mkdir("folder"), 30)
    refuses(lambda: os.rmdir("lib"), 30)
    with open("/heirloom/log") as file:
        assert file.read().count("read-only") == 1


def keeps_what_the_application_writes():
    mounted()
    assert open("settings.json").read() == "{}"
    refuses(lambda: os.stat("/data"), 2)
    with open("settings.json", "w") as file:
        file.write("[1]")
    assert open("/data/settings.json").read() == "[1]" == open("/app/settings.json").read()
    with open("cache/deep/a.txt", "w") as file:
        file.write("a")
    assert sorted(os.listdir()) == ["cache", "helper.py", "lib", "lib-x", "main.py", "settings.json", "www"]
    assert os.listdir("cache") == ["deep"] and os.listdir("cache/deep") == ["a.txt"]
    os.mkdir("cache/more")
    os.rename("cache/deep/a.txt", "cache/more/b.txt")
    assert open("cache/more/b.txt").read() == "a"
    os.remove("cache/more/b.txt")
    os.rmdir("cache/more")
    install({"main.py": "", "settings.json": "{2}"}, ["settings.json"], "b")
    boot.mount("b")
    os.chdir("/app")
    assert open("settings.json").read() == "[1]"
    os.remove("settings.json")
    assert open("settings.json").read() == "{2}"


def appending_starts_from_the_releases_file():
    mounted()
    with open("settings.json", "a") as file:
        file.write("more")
    assert open("settings.json").read() == "{}more"


def atomic_replacement_by_the_application():
    mounted(("settings.json", "settings.json.new"))
    with open("settings.json.new", "w") as file:
        file.write("[2]")
    os.rename("settings.json.new", "settings.json")
    assert open("settings.json").read() == "[2]"
    assert "settings.json.new" not in os.listdir()


def damaged_manifests_are_errors():
    install(FILES)
    with open(boot.slot_path("a"), "rb") as file:
        good = file.read()
    for bad in (b"", good[:-1], good + b"x", b"\xff" * 100, good[: len(good) // 2]):
        with open(boot.slot_path("a"), "wb") as file:
            file.write(bad)
        try:
            AppFS(boot.slot_path("a"))
        except ValueError:
            continue
        raise AssertionError("taken")


def many_files(manifest):
    """The largest manifest there may be, made by the host."""
    import gc

    gc.collect()
    before = gc.mem_alloc()
    fs = AppFS("/host" + manifest)
    gc.collect()
    print(gc.mem_alloc() - before)
    assert fs.stat("/folder3/file111.py")[6] == 111
    assert len(list(fs.ilistdir("/"))) == 9
    assert len(list(fs.ilistdir("folder3"))) == 29


def a_first_writing_that_is_cut_leaves_the_releases_file():
    mounted()
    file = open("settings.json", "w")  # the power fails before it is closed
    file.write("[1]")
    with open("/data/settings.json") as what_is_on_flash:
        assert what_is_on_flash.read() == "{}"
    file.close()
    assert open("settings.json").read() == "[1]"
