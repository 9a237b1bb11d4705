"""What the tools in the world's bin folder run. Each loads only what it needs: they are started often."""
import os
import sys
from importlib import import_module

from .place import Place

if __name__ == "__main__":
    name = sys.argv[1].replace("-", "_")
    tool = getattr(import_module(f".{name}", __package__), name)
    sys.exit(tool(Place.there(os.environ["TERP_WORLD"]), sys.argv[2:]))
