"""Everything that waits: network, files, stores, logs."""
