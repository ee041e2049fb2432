"""Designs with their settings as texts: "ksm-6.18,pages_to_scan=1000,policy=ksmtuned"."""

from collections.abc import Iterable
from dataclasses import dataclass

from ksmbench import designs
from ksmbench.designs.design import Design, Value
from ksmbench.errors import UsageError
from ksmbench.policies import FIXED, begun, find_policy

BOUNDS = ("none", "oracle")
POLICY = "policy"  # among the settings of a design's text: who turns them


@dataclass(frozen=True)
class Spec:
    """A design and the settings that differ from its defaults, as "ksm-6.18,pages_to_scan=1000" says them."""

    design: str
    settings: tuple[tuple[str, Value], ...] = ()
    policy: str = FIXED  # who turns the settings

    @property
    def settings_text(self) -> str:
        """Such as "pages_to_scan=1000,policy=ksmtuned"; empty for the defaults."""
        told = [*self.settings] if self.policy == FIXED else [*self.settings, (POLICY, self.policy)]
        return ",".join(f"{name}={value}" for name, value in told)

    def __str__(self) -> str:
        return ",".join(filter(None, (self.design, self.settings_text)))


def _pairs(text: str, parts: list[str], design: Design) -> list[tuple[str, str]]:
    # NAME=VALUE of each part; one without "=" goes on with the words of the setting before it.
    sets = {setting.name for setting in design.settings if setting.many}
    pairs: list[tuple[str, str]] = []
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and key:
            pairs.append((key, value))
        elif pairs and part and pairs[-1][0] in sets:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{part}")
        else:
            after = f", and {pairs[-1][0]} takes one value" if pairs and not equals else ""
            raise UsageError(f'--design {text}: "{part}" is not NAME=VALUE, such as pages_to_scan=1000{after}')
    return pairs


def parse_design(text: str) -> Spec:
    """The design and settings that `text` names; raises `UsageError` in one sentence."""
    name, *parts = (part.strip() for part in text.split(","))
    design = designs.find(name)
    given: dict[str, int | str] = {}
    integers = {setting.name for setting in design.settings} - design.worded  # what is no setting is told below
    for key, value in _pairs(text, parts, design):
        if key in given:
            raise UsageError(f"--design {text}: {key} is set twice")
        try:
            given[key] = int(value) if key in integers else value
        except ValueError:
            raise UsageError(f'--design {text}: {key} must be an integer, not "{value}"') from None
    policy = find_policy(str(given.pop(POLICY, FIXED)))
    complete = designs.complete_settings(design, given)
    begun(policy, design, {key: complete[key] for key in given})
    return Spec(design.name, tuple((key, complete[key]) for key in given), policy.name)


def with_policies(wanted: Iterable[str], policies: Iterable[str]) -> list[str]:
    """Each design's text with each of `policies`; bounds and texts that name one themselves stay as they are."""
    chosen = list(policies)
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    made = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        own = parts[0] in BOUNDS or any(part.startswith(f"{POLICY}=") for part in parts)
        several = (
            [text] if own or not chosen else [text if name == FIXED else f"{text},{POLICY}={name}" for name in chosen]
        )
        made += several
    return list(dict.fromkeys(made))
