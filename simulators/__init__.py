"""Physics: bare models, importable and useful alone."""
