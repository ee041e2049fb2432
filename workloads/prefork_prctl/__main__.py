"""`python -m workloads.prefork_prctl -o TRACE`: starts the service under a capture and sends it requests."""

from workloads.prefork_prctl.service import ITEMS
from workloads.prefork_server.__main__ import record_server
from workloads.recording import recorder

REQUESTS_PER_S = 120

main = recorder(
    "prefork-prctl-32",
    lambda wanted: record_server(wanted, "workloads.prefork_prctl.service", items=ITEMS, rate=REQUESTS_PER_S),
)

if __name__ == "__main__":
    main()
