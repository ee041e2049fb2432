"""The synthetic workloads by name, with the parameters of `parameters.toml`."""

from dataclasses import fields, replace

from ksmbench.errors import UsageError
from ksmbench.trace.columns import Trace
from workloads.review_2009.crowds import Crowd, Idle, Unmodified
from workloads.review_2009.guests import Vms
from workloads.review_2009.mappings import Allocators, Churn
from workloads.review_2009.parameters import tables
from workloads.review_2009.servers import Prefork

Workload = Prefork | Vms | Allocators | Crowd | Idle | Churn | Unmodified
_KINDS: dict[str, type[Workload]] = {
    kind.__name__.lower(): kind for kind in (Prefork, Vms, Allocators, Crowd, Idle, Churn, Unmodified)
}
NAMES = tuple(_KINDS)


def workload(name: str, **changes: float) -> Workload:
    """The workload `name`, with `changes` to the parameters of the file; raises `UsageError` for unknown ones."""
    kind = _KINDS[name]
    known = [field.name for field in fields(kind)]
    for parameter in changes:
        if parameter not in known:
            raise UsageError(f"{name} has no parameter {parameter}; it has {', '.join(known)}")
    made: Workload = kind(**tables()[name])
    return replace(made, **{key: type(getattr(made, key))(value) for key, value in changes.items()})


def make(name: str, **changes: float) -> Trace:
    """The trace of the workload `name`."""
    return workload(name, **changes).tell()


def summary(name: str) -> str:
    """What the workload is, in a sentence."""
    return (_KINDS[name].__doc__ or "").split("\n")[0]
