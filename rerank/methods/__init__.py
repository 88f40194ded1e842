"""The methods: pure functions first, then frozen settings, then frozen fitted state."""
