"""Running the four processes on this machine without containers: `make setup`, `make up`, `make down`."""
