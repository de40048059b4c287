"""From a request for a completion to the job that answers it."""
