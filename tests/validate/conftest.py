"""The kernel that guests boot; tests are skipped where that or QEMU is missing, and nothing is fetched."""

import os

import pytest

from ksmbench.validate.kernels import KernelFiles, kept_kernel, kernel_files
from ksmbench.validate.vm import why_no_guest

SERIES = "6.1"


@pytest.fixture(scope="session")
def kernel() -> KernelFiles:
    problem = why_no_guest()
    forced = os.environ.get("KSMBENCH_KERNEL_TESTS") == "1"
    if problem and not forced:
        pytest.skip(problem)
    found = kernel_files(SERIES) if forced else kept_kernel(SERIES)
    if found is None:
        pytest.skip(f"no kernel {SERIES} in the cache folder; to fetch it: ksmbench validate --kernel {SERIES}")
    return found
