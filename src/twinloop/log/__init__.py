"""The append-only SQLite log under the journal and the ledger."""
