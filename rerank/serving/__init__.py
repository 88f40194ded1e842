"""A fitted gallery that people hold: search, growth, folding and stores."""
