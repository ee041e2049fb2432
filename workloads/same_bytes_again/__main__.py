"""`python -m workloads.same_bytes_again -o TRACE [--set PARAMETER=VALUE]…`."""

from workloads.same_bytes_again.story import SameBytes
from workloads.synthesis import synthesizer

main = synthesizer("same-bytes-again", SameBytes)

if __name__ == "__main__":
    main()
