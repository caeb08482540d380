"""Fixtures of the end-to-end tests."""

import os
import sysconfig

# The interpreter and the cross compiler are installed beside this Python, which need not be on the PATH.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")
