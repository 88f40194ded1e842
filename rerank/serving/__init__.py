"""A fitted gallery: models that serve unseen queries, and vectors of it in any store."""
