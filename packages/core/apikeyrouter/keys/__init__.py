"""Background work on keys: probes, lists of models, locks."""
