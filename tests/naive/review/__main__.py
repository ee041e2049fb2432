"""`python -m tests.naive.review [SEEDS [FIRST [DESIGN …]]]`: engine against twin on so many scenarios per design."""

import sys
from collections import Counter

from tests.naive.review.agreement import difference
from tests.naive.review.replay import DESIGNS
from tests.naive.review.scenarios import scenario
from tests.naive.work import EVERY_PRICE


def main(arguments: list[str]) -> int:
    """How many scenarios differ."""
    n = int(arguments[0]) if arguments else 500
    first = int(arguments[1]) if len(arguments) > 1 else 0
    found: Counter[str] = Counter()
    for name in arguments[2:] or DESIGNS:
        for seed in range(first, first + n):
            wrong = difference(name, scenario(name, seed), EVERY_PRICE if seed % 2 else None)
            if wrong:
                found[name] += 1
                print(f"\r{name} seed {seed}: {wrong}", flush=True)
            print(f"\r{name}: {seed - first + 1} of {n}, {found[name]} differ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return min(found.total(), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
