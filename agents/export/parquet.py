"""The tables of a run as Parquet files: types kept, units in the metadata of each column."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinloop import __version__
from twinloop.agents.export.nexus_tree import clean_text, needed
from twinloop.agents.export.notice import run_notice
from twinloop.agents.export.record import RunRecord
from twinloop.agents.export.tables import Column, Table, tables_of
from twinloop.log.durable import write_whole

__all__ = ["write_parquet"]


def write_parquet(record: RunRecord, folder: Path) -> dict[str, int]:
    """Write a file for each table into a folder; return how many rows each has.

    Raises:
        ExportNeeds: pyarrow is not installed.
        OSError: the disk refused.
    """
    pyarrow = needed("pyarrow", "Parquet tables")
    writer = needed("pyarrow.parquet", "Parquet tables")
    about = _about(record)
    counts = {}
    for table in tables_of(record):
        schema = pyarrow.schema([_field(pyarrow, c) for c in table.columns], metadata=about)
        columns = [_column(pyarrow, table, c) for c in table.columns]
        made = pyarrow.Table.from_arrays(columns, schema=schema)
        buffer = io.BytesIO()
        writer.write_table(made, buffer, compression="zstd")
        write_whole(folder / f"{table.name}.parquet", buffer.getbuffer())
        counts[table.name] = len(table.rows)
    return counts


def _about(record: RunRecord) -> dict[str, str]:
    history = record.history
    return {
        "campaign": record.campaign,
        "run": record.run_id,
        "journal": history.log_id,
        "journal_events": str(history.n_events),
        "journal_head": history.head,
        "notice": run_notice(history),
        "twinloop": __version__,
    }


def _field(pyarrow: Any, column: Column) -> Any:
    metadata: dict[str, str] = {}
    if column.unit:
        metadata["units"] = column.unit
    if column.text:
        metadata["description"] = column.text
    return pyarrow.field(column.name, _type(pyarrow, column), metadata=metadata or None)


def _type(pyarrow: Any, column: Column) -> Any:
    types: Mapping[str, Any] = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "whole": pyarrow.int64(),
        "natural": pyarrow.uint64(),
        "truth": pyarrow.bool_(),
        "time": pyarrow.timestamp("us", tz="UTC"),
        "numbers": pyarrow.list_(pyarrow.float64()),
        "wholes": pyarrow.list_(pyarrow.int64()),
    }
    return types[column.kind]


def _column(pyarrow: Any, table: Table, column: Column) -> Any:
    values = [row.get(column.name) for row in table.rows]
    if column.kind == "text":
        texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        values = [None if v is None else clean_text(v) for v in texts]
    return pyarrow.array(values, type=_type(pyarrow, column))
