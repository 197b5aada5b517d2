"""The tongues that simulated providers speak, one file each."""
