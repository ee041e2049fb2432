"""System calls that others tell of: tracepoints and strace's lines, decoded, and the events that they make.

Whoever tells (`tracepoints`, `strace`) pushes calls into a `sink`: `calls.Calls` makes events of them alone, the
capture applies them to what it knows of a process (`ksmbench.capture.tracing`).
"""
