"""What fits where: how much a model needs, where its copies go, and who makes room."""
