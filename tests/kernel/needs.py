"""Whether tests may play on this host's kernel; KSMBENCH_KERNEL_TESTS=1 makes them fail instead of skip where not."""

import os

import pytest

from ksmbench.validate.sysfs import why_not

_PROBLEM = None if os.environ.get("KSMBENCH_KERNEL_TESTS") == "1" else why_not()
needs_kernel = pytest.mark.skipif(_PROBLEM is not None, reason=f"not played on the kernel: {_PROBLEM}")
