"""By default each story is lived on one of the simulated boards, in turn; all on all by HEIRLOOM_LIFECYCLE=all."""

import os

import pytest

_ALL = os.environ.get("HEIRLOOM_LIFECYCLE") == "all"
# What an RP2040 cannot do.
_ONLY_ESP32 = ("firmware", "deep_sleep")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take turns, unless drivers or a rig are named."""
    if _ALL or config.getoption("--heirloom-driver") or config.getoption("--heirloom-rig"):
        return
    stories: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.parent.name == "lifecycle" and isinstance(item, pytest.Function):
            stories.setdefault(item.originalname, []).append(item)
    dropped: list[pytest.Item] = []
    for turn, (story, lived) in enumerate(stories.items()):
        limited = any(word in story for word in _ONLY_ESP32)
        able = [one for one in lived if "ESP32" in one.name or not limited]
        dropped += [one for one in lived if one is not able[turn % len(able)]]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
