"""Which replays a sweep consists of: traces x designs x the values of what is varied, each combination once."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from ksmbench import designs
from ksmbench.designs.design import Design, Given, Value
from ksmbench.errors import UsageError
from ksmbench.policies import FIXED, begun, find_policy
from ksmbench.specs import POLICY, Spec, parse_design

MAX_REPLAYS = 2000  # default of --max-replays

Vary = Mapping[str, Iterable[Given]]


def parse_vary(texts: Iterable[str], wanted: Iterable[str]) -> dict[str, list[Given]]:
    """The values that NAME=V1,V2,... texts give each setting of the designs `wanted`.

    Values are separated by "|" where there is one, and always for settings that take sets of words, which have commas
    of their own; by commas otherwise.
    """
    sets = {
        setting.name
        for text in wanted
        for setting in designs.find(text.partition(",")[0].strip()).settings
        if setting.many
    }
    vary: dict[str, list[Given]] = {}
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        parts = [part.strip() for part in values.split("|" if "|" in values or name in sets else ",")]
        if not equals or not name or "" in parts:
            raise UsageError(f'--vary "{text}": write NAME=V1,V2,..., as in pages_to_scan=100,1000,4000')
        if name in vary:
            raise UsageError(f"--vary: {name} is varied twice; give all its values at once")
        vary[name] = list(parts)
    return vary


def _values(design: Design, name: str, given: Iterable[Given]) -> list[Value]:
    # The values of one setting as results show them, each once.
    if name == POLICY:
        return list(dict.fromkeys(find_policy(str(value)).name for value in given))
    found: list[Value] = []
    for value in given:
        if isinstance(value, str) and name not in design.worded:
            try:
                value = int(value)
            except ValueError:
                raise UsageError(f'--vary {name}: its values are integers, not "{value}"') from None
        found.append(designs.complete_settings(design, {name: value})[name])
    return list(dict.fromkeys(found))


def _specs_of(text: str, vary: dict[str, list[Given]]) -> list[Spec]:
    spec = parse_design(text)
    design = designs.find(spec.design)
    fixed = [name for name, _ in spec.settings] + ([POLICY] if spec.policy != FIXED else [])
    for name in fixed:
        if name in vary:
            raise UsageError(f"--design {text}: {name} is set here and varied by --vary; leave out one of them")
    columns = [[(name, value) for value in _values(design, name, given)] for name, given in vary.items()]
    specs = []
    for combination in itertools.product(*columns):
        named = dict(combination)
        policy = str(named.pop(POLICY, spec.policy))
        settings = (*spec.settings, *named.items())
        begun(find_policy(policy), design, dict(settings))
        specs.append(Spec(spec.design, settings, policy))
    return specs


def grid(wanted: Sequence[str], vary: Vary, n_traces: int, max_replays: int) -> list[Spec]:
    """Every design of `wanted` with every combination of the values of `vary`; what is equal comes once.

    Raises `UsageError` for what cannot be meant, and for more than `max_replays` replays on `n_traces` traces.
    """
    if not wanted:
        raise UsageError("nothing to sweep; name at least one design, such as ksm-6.18")
    listed = {name: list(given) for name, given in vary.items()}
    if not listed or not all(listed.values()):
        raise UsageError("nothing to vary; give at least one setting with its values, such as pages_to_scan=100,1000")
    n = n_traces * len(wanted) * math.prod(map(len, listed.values()))
    if n > max_replays:
        raise UsageError(f"{n:,} replays, more than --max-replays {max_replays:,}; vary less, or raise it")
    points: dict[tuple[str, str, tuple[tuple[str, Value], ...]], Spec] = {}
    for text in wanted:
        for spec in _specs_of(text, listed):
            points.setdefault((spec.design, spec.policy, complete(spec)), spec)
    return list(points.values())


def complete(spec: Spec) -> tuple[tuple[str, Value], ...]:
    """All settings of a spec, defaults included: equal for specs that mean the same."""
    return tuple(designs.complete_settings(designs.find(spec.design), dict(spec.settings)).items())
