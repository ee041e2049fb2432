"""What a policy is: a program on the host that turns KSM's settings while the host runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Seen:
    """What a policy sees when it acts."""

    seconds: float  # since the replay began
    host_memory: int  # bytes
    used: int  # bytes of the frames in use now
    committed: int  # bytes that page tables map, a shared frame once for each of them
    settings: Mapping[str, int]  # of the design, as in force now

    @property
    def free(self) -> int:
        """Bytes of the host's memory that are not in use."""
        return max(0, self.host_memory - self.used)


Stores = dict[str, int]  # settings by name, stored in this order
Decide = Callable[[Seen], Stores]


def _nothing(seen: Seen) -> Stores:
    return {}


def _never() -> Decide:
    return _nothing


@dataclass(frozen=True)
class Policy:
    """One who turns the knobs, as an entry of `ksmbench.policies.POLICIES`.

    `start` is called when a replay begins and gives what is asked every `period_s` seconds; what it remembers lives
    there. Changes of `turns` that a trace recorded are left out: the policy makes them now.
    """

    name: str
    summary: str  # one sentence
    source: str  # where the program is documented
    turns: tuple[str, ...] = ()  # settings that it stores to; a design must have them
    begins: Mapping[str, int] = field(default_factory=dict)  # settings that are in force from the start
    period_s: float = 0.0  # 0: it never acts
    acts_at_start: bool = False  # also before ksmd's first batch
    start: Callable[[], Decide] = _never

    @property
    def sees_memory(self) -> bool:
        """Whether it has to know the host's memory."""
        return self.period_s > 0
