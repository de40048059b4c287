"""The model that a request means, and with which settings it is loaded."""
