"""`python -m workloads.guests_come_and_go -o TRACE`: records guests that come and go, from the start of the first."""

from workloads.debian_guests.image import build, cache_folder, install_host_packages
from workloads.recording import Wanted, capture_command, recorder


def _record(wanted: Wanted) -> int:
    install_host_packages()
    place = cache_folder()
    build(place)
    return capture_command(wanted, "workloads.guests_come_and_go.launcher", str(place))


main = recorder("guests-come-and-go", _record)

if __name__ == "__main__":
    main()
