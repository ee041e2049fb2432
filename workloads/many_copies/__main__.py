"""`python -m workloads.many_copies -o TRACE [--set PARAMETER=VALUE]…`."""

from workloads.many_copies.story import ManyCopies
from workloads.synthesis import synthesizer

main = synthesizer("many-copies", ManyCopies)

if __name__ == "__main__":
    main()
