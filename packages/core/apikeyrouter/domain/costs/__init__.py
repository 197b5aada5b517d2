"""What requests cost, and whose money it is: prices, prompt caches, hard caps and budgets."""
