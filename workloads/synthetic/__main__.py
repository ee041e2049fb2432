"""`python -m workloads.synthetic -o TRACE [--set PARAMETER=VALUE]…`: a trace from parameters and a seed."""

from workloads.synthesis import synthesizer
from workloads.synthetic.memory import Synthetic

main = synthesizer("synthetic", Synthetic)

if __name__ == "__main__":
    main()
