"""The tongues that simulated providers speak, one file or folder each."""
