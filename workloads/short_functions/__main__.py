"""`python -m workloads.short_functions -o TRACE`: records a platform that starts functions."""

from workloads.recording import Wanted, capture_command, recorder


def _record(wanted: Wanted) -> int:
    return capture_command(wanted, "workloads.short_functions.platform", str(wanted["rate"]))


main = recorder("short-functions", _record)

if __name__ == "__main__":
    main()
