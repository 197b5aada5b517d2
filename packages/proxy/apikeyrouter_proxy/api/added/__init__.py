"""What is added by the management API beside what the configuration file names."""
