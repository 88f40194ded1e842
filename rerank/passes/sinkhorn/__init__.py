"""Fast versions of the Sinkhorn passes: `choose` picks one, each equals `plain` in tolerance."""
