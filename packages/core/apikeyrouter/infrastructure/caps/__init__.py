"""Hard caps over a store: blocks are kept there before they are spent."""
