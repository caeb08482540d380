"""What a device says about itself, for a person. The document is `heirloom.device.status.report`'s, of any client."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from heirloom.cli.output import printable

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = (
    *("active", "fallback", "trial", "confirmed", "floor", "failed", "last_check", "owner", "owner_damaged", "waiting"),
    *("traceback", "media_once"),
)


def status(console: "Console", report: Mapping[str, object]) -> None:
    """Print a status report; what this version does not know is shown as it is."""
    for name, text in _lines(report):
        console.print(f"{name:12} {printable(text)}", markup=False, soft_wrap=True)
    traceback = report.get("traceback")
    if isinstance(traceback, str) and traceback:
        console.print(f"\nThe application ended last with\n\n{printable(traceback.rstrip())}", markup=False)


def _lines(report: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield "device", " ".join(str(report.get(key)) for key in ("id", "product", "board") if report.get(key))
    yield "runs", _slot(report.get("active")) + _trial(report.get("trial"))
    yield "before", _slot(report.get("fallback"))
    yield "confirmed", _order(report.get("confirmed"))
    yield "floor", _order(report.get("floor"))
    failed = report.get("failed")
    yield "failed", ", ".join(map(_order, failed)) if isinstance(failed, list) and failed else "none"
    yield "last check", _check(report.get("last_check"))
    yield "owner", _pairs(report.get("owner")) + (", unreadable" if report.get("owner_damaged") else "")
    if isinstance(waiting := report.get("waiting"), dict):
        yield "waits", f"{waiting.get('version')}, for the owner's yes"
    if report.get("media_once"):
        yield "wished", f"an install from {report['media_once']} at the next start"
    for key, value in report.items():
        if key not in (*_SHOWN, "id", "product", "board"):
            yield key, _pairs(value)


def _slot(slot: object) -> str:
    if not isinstance(slot, dict):
        return "nothing"
    return f"{slot.get('version') or 'a damaged release'} (slot {slot.get('slot')})"


def _trial(trial: object) -> str:
    if not isinstance(trial, dict):
        return ""
    return f", on trial: {trial.get('boots_left')} starts and {trial.get('power_left')} losses of power left"


def _order(order: object) -> str:
    if not isinstance(order, list) or len(order) != 2:
        return "-"
    return f"epoch {order[0]}, sequence {order[1]}" if order != [0, 0] else "none"


def _check(check: object) -> str:
    if not isinstance(check, dict):
        return "never"
    return str(check.get("error") or check.get("result"))


def _pairs(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_pairs(item)}" for key, item in value.items() if item is not None) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
