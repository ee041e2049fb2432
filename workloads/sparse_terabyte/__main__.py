"""`python -m workloads.sparse_terabyte -o TRACE [--set PARAMETER=VALUE]…`."""

from workloads.sparse_terabyte.story import Sparse
from workloads.synthesis import synthesizer

main = synthesizer("sparse-terabyte", Sparse)

if __name__ == "__main__":
    main()
