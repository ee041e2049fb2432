"""`python -m workloads.balloon_guest -o TRACE`: records a guest that balloons and restarts, from its start."""

from workloads.debian_guests.image import build, cache_folder, install_host_packages
from workloads.recording import Wanted, capture_command, recorder


def _record(wanted: Wanted) -> int:
    install_host_packages()
    place = cache_folder()
    build(place)
    how = [str(wanted[name]) for name in ("memory", "balloon", "mergeable")]
    return capture_command(wanted, "workloads.balloon_guest.launcher", str(place), *how)


main = recorder("balloon-guest", _record)

if __name__ == "__main__":
    main()
