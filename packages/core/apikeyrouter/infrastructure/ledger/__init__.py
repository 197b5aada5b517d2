"""The shared ledger: what all processes have set aside, kept by one script on Redis or Valkey."""
