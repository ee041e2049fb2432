"""What a capture must record, it must record by the kernel's tracepoints and by differences between looks alike."""

import pytest

from tests.capture import child

_BOTH = ("tests.capture.test_memory", "tests.capture.test_tree")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of these modules with system calls told and without."""
    if metafunc.module.__name__ in _BOTH:
        metafunc.fixturenames.append("calls")
        metafunc.parametrize("calls", ["auto", "none"], indirect=True)


@pytest.fixture
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who tells `Recording` the system calls."""
    monkeypatch.setattr(child, "CALLS", request.param)
    who: str = request.param
    return who
