"""How much the tests do that prove a number: 1,000 additions, thousands of edits.

Every run makes them smaller; ``MEMEDIT_MEASURE=1`` makes them whole.
"""

from __future__ import annotations

import os

WHOLE = os.environ.get("MEMEDIT_MEASURE", "0") not in {"", "0"}
