"""Downloads of models, as storage keeps them: records, files that grow, and the step into `models/`."""
