"""The one app of all examples: one store, one worker, every handler."""

import os
from pathlib import Path

from outlast import Outlast

DATA = Path(__file__).resolve().parent.parent / ".demo"
"""Where the demo keeps its store and its log of model calls; delete it to begin anew."""

app = Outlast(os.environ.get("OUTLAST_STORE") or f"sqlite:///{DATA}/outlast.db")
