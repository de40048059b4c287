"""How Janroot is installed, started, checked and shipped; nothing here is imported by the services."""
