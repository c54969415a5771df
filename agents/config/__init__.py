"""Read and check campaign and laboratory files."""
