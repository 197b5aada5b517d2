"""The service in several processes on one socket and one ledger."""
