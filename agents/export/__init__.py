"""Data of a run for other programs: NeXus files, Parquet tables, bluesky documents."""
