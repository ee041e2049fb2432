"""`python -m workloads.almost_equal_pages -o TRACE [--set PARAMETER=VALUE]…`."""

from workloads.almost_equal_pages.story import AlmostEqual
from workloads.synthesis import synthesizer

main = synthesizer("almost-equal-pages", AlmostEqual)

if __name__ == "__main__":
    main()
