"""The life-cycle suite of the distribution, run here as `heirloom hil run` runs it: see `heirloom.hil.suite`."""

from heirloom.hil.suite.test_lifecycle import *  # noqa: F403 - its tests and its fixtures
