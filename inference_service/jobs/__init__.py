"""A job in a worker's hands: taken, asked of an engine, told as events, ended once or given back."""
