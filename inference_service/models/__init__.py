"""The models of this host: loaded when a job asks for them, shared, changed, put to sleep, ended."""
