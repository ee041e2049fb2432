"""The designs: one file each, one line each here."""

import difflib

from ksmbench.designs import ksm, none, oracle
from ksmbench.designs.design import Design
from ksmbench.errors import UsageError

DESIGNS: dict[str, Design] = {design.name: design for design in (ksm.DESIGN, none.DESIGN, oracle.DESIGN)}
NEWEST_KSM = "ksm-6.18"


def find(name: str) -> Design:
    """The design called `name`; "ksm" is the newest kernel's."""
    if name == "ksm":
        name = NEWEST_KSM
    if name in DESIGNS:
        return DESIGNS[name]
    near = difflib.get_close_matches(name, DESIGNS, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise UsageError(f'there is no design "{name}"{hint} (designs: {", ".join(DESIGNS)})')


def complete_settings(design: Design, given: dict[str, int]) -> dict[str, int]:
    """`given` with the defaults of `design`; an unknown name or a value out of range is an error that names others."""
    known = {setting.name: setting for setting in design.settings}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            has = ", ".join(known) or "none"
            raise UsageError(f'design "{design.name}" has no setting "{name}"{hint} (its settings: {has})')
        setting = known[name]
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, int) or not setting.minimum <= value <= setting.maximum:
            raise UsageError(
                f"{name}={value}: must be an integer from {setting.minimum} to {setting.maximum} ({setting.meaning})"
            )
    return {name: int(given.get(name, setting.default)) for name, setting in known.items()}
