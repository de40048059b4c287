"""Downloads of models: what to fetch, fetching it, and telling how it goes. Storage keeps what comes."""
