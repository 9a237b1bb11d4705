"""TERP's stand-in world; see ../README.md."""
