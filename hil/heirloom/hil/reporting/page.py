"""The report as one HTML file: no script, no font, no request; it opens from a stick in ten years."""

from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING

from heirloom.cli.errors import HeirloomError
from heirloom.cli.extras import advice_for
from heirloom.hil.reporting.model import LANES, Report
from heirloom.hil.reporting.picture import cut_map, dots

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATE = "report.html.j2"
_ORDER = ("failed", "error", "passed", "skipped")


def render(report: Report) -> str:
    """The page.

    Raises:
        HeirloomError: Jinja2 is not installed.
    """
    counts = Counter(case.outcome for case in report.cases)
    skipped = Counter(case.detail or "no reason given" for case in report.cases if case.outcome == "skipped")
    bad = [case for case in report.cases if case.outcome in ("failed", "error")]
    connections = list(dict.fromkeys(column for attack in report.attacks for column in attack.cells))
    page: str = (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            report=report,
            counts=[(outcome, counts[outcome]) for outcome in _ORDER if counts[outcome]],
            skipped=skipped.most_common(),
            bad=bad,
            maps=[cut_map(phase) for phase in report.powercuts.phases] if report.powercuts else [],
            timelines=[(timeline, dots(timeline)) for timeline in report.timelines],
            lanes=LANES,
            connections=connections,
            good=not bad
            and not (report.powercuts and report.powercuts.problems)
            and not any(attack.wrong for attack in report.attacks),
        )
    )
    return page


def _environment() -> "Environment":
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as exc:
        raise HeirloomError("a report needs jinja2, which is not installed", advice_for("jinja2")) from exc
    return Environment(
        loader=FunctionLoader(lambda name: (files(__package__ or "") / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
