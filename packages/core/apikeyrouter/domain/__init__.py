"""The part that decides: plain functions over memory and a given clock; no I/O."""
