"""Reading and changing single files in the flash of a device, as somebody with a programmer and a grudge would."""

from littlefs import LittleFS

from heirloom.boards import load
from heirloom.hil.demo.steps import BOARD


def _mounted(image: bytes) -> LittleFS:
    layout = load(BOARD).flash
    filesystem = LittleFS(block_size=layout.block_size, block_count=layout.block_count, mount=False)
    filesystem.context.buffer[:] = image
    filesystem.mount()
    return filesystem


def filesystem_of(flash: bytes) -> bytes:
    """The file system's part of a whole flash."""
    layout = load(BOARD).flash
    return flash[layout.offset : layout.offset + layout.filesystem_size]


def list_files(image: bytes, folder: str) -> list[str]:
    """All files below a folder, by absolute path."""
    filesystem = _mounted(image)
    walked = list(filesystem.walk(folder))
    return sorted(f"{place.rstrip('/')}/{name}" for place, _, names in walked for name in names)


def read_file(image: bytes, path: str) -> bytes:
    filesystem = _mounted(image)  # a name of its own: an open file does not keep its file system alive
    with filesystem.open(path, "rb") as file:
        return bytes(file.read())


def with_file(image: bytes, path: str, content: bytes | None) -> bytes:
    """The image with another content of one file, or without it."""
    filesystem = _mounted(image)
    if content is None:
        filesystem.remove(path)
    else:
        with filesystem.open(path, "wb") as file:
            file.write(content)
    return bytes(filesystem.context.buffer)
