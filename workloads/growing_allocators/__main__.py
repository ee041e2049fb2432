"""`python -m workloads.growing_allocators -o TRACE`: records loaders of tables whose columns grow by mremap."""

from workloads.recording import Wanted, capture_command, recorder


def _record(wanted: Wanted) -> int:
    return capture_command(wanted, "workloads.growing_allocators.launcher", str(wanted.duration))


main = recorder("growing-allocators", _record)

if __name__ == "__main__":
    main()
