"""The small trace of the commands' tests."""

from tests.commands.conftest import trace

__all__ = ["trace"]
