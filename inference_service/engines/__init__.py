"""One file per kind of engine, and what they share."""
