"""What the tools in the world's bin folder run."""
import os
import sys

from .place import Place
from .release import main

if __name__ == "__main__":
    sys.exit(main(Place.there(os.environ["TERP_WORLD"]), sys.argv[1], sys.argv[2:]))
