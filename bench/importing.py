"""What an import costs: `python -m bench.importing import '{"module": "outlast"}'`."""

import time
from importlib import import_module

from bench.measured import Numbers, run


def cost(url: str, module: str) -> Numbers:
    """Nothing is kept at the URL that every program is given."""
    began = time.process_time()
    import_module(module)
    return {"ms": (time.process_time() - began) * 1000}


if __name__ == "__main__":
    run({"import": cost})
