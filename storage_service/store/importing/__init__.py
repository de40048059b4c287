"""Taking in what other janroots, Jans and products left: read, built aside, then published whole."""
