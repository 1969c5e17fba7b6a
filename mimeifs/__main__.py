"""``python -m mimeifs`` is the command ``mimei``."""

import sys

from mimeifs.cli import main

sys.exit(main())
