"""`janroot`: what people ask of a running Janroot from a terminal. It talks HTTP like any client."""
