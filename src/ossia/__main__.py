"""`python -m ossia` is the `ossia` command."""

import sys

from ossia.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
