"""The queue as the gateway sees it: who is charged, in which class, where a job stands, and what it says."""
