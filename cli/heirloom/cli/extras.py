"""Optional parts of the installation: which module comes with which extra of the distribution."""

from importlib.util import find_spec

DISTRIBUTION = "heirloom-ota"

# extra -> the modules it brings, by their import names
EXTRAS: dict[str, tuple[str, ...]] = {
    "server": ("fastapi", "uvicorn"),
    "sim": ("littlefs", "micropython_unix"),
}


def missing(extra: str) -> list[str]:
    """The modules of `extra` that are not installed."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def advice_for(module: str | None) -> str:
    """How to install the extra that brings `module`; empty if none does."""
    top = (module or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if top in modules:
            return f"pip install '{DISTRIBUTION}[{extra}]'"
    return ""
