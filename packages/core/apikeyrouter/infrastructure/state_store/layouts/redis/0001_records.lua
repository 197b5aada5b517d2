-- Sorted sets and hashes are made when they are first written to.
return 1
