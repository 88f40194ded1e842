"""Every pass over a similarity, written once."""
