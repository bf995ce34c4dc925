"""`python3 -m lab`: the command line of the lab."""

import sys

from lab.cli import main

sys.exit(main())
