"""Who turns the knobs during a replay: one file each, one line each here."""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ksmbench.errors import UsageError
from ksmbench.policies import advisor, fixed, ksmtuned, kubevirt, mom, proxmox
from ksmbench.policies.policy import Decide, Policy, Seen, Stores

if TYPE_CHECKING:  # the command line knows the policies before anything is compiled
    from ksmbench.designs.design import Design

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        fixed.POLICY,
        advisor.POLICY,
        ksmtuned.POLICY,
        proxmox.POLICY,
        mom.POLICY,
        kubevirt.POLICY,
    )
}
FIXED = fixed.POLICY.name


def find_policy(policy: str | Policy) -> Policy:
    """The policy called so; one that is none of POLICIES passes through."""
    if isinstance(policy, Policy):
        return policy
    if policy in POLICIES:
        return POLICIES[policy]
    near = difflib.get_close_matches(policy, POLICIES, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise UsageError(f'there is no policy "{policy}"{hint} (policies: {", ".join(POLICIES)})')


def begun(policy: Policy, design: "Design", given: Mapping[str, object]) -> dict[str, int]:
    """The settings that `policy` begins with; raises `UsageError` where `design` or what is `given` does not fit it."""
    has = {setting.name for setting in design.settings}
    for name in (*policy.begins, *policy.turns):
        if name not in has:
            raise UsageError(
                f'design "{design.name}" has no setting "{name}", which policy "{policy.name}" turns; '
                "choose another design, or the policy fixed"
            )
    for name in policy.begins:
        if name in given and given[name] != policy.begins[name]:
            raise UsageError(f'policy "{policy.name}" sets {name}; leave it out')
    if policy.period_s and given.get("advisor_mode"):
        raise UsageError(f'policy "{policy.name}" cannot set pages_to_scan while the advisor does; choose one of them')
    return dict(policy.begins)


__all__ = ["FIXED", "POLICIES", "Decide", "Policy", "Seen", "Stores", "begun", "find_policy"]
