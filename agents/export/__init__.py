"""Data of a run for other programs: NeXus files, Parquet tables, bluesky documents.

`run_export.export_run(folder)` reads the journal and the arrays of a run folder, also while the
campaign goes on, and writes a folder of files that programs of others open: HDF5 in the form of
NeXus with calibrated axes (HyperSpy, h5py, silx), Parquet tables (pandas, DuckDB), and bluesky run
documents. Its packages are the extra `export`; nothing here is imported before it is needed.
"""
