"""Where events leave the library."""
