"""The silent middle: ledger, index, engine, queue, failure table."""
