"""The other services as the gateway sees them."""
