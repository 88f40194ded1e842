"""Vector stores: write folded vectors with ids, and search what was written."""
