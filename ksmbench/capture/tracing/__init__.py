"""System calls of the processes under capture, as the kernel's tracepoints tell them."""
