"""Vector stores: the gateway's client for what storage keeps of them."""
