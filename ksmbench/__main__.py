"""`python -m ksmbench`."""

from ksmbench.cli import main

if __name__ == "__main__":
    main()
