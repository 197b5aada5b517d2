"""Several processes of one service: what one is ordered holds in all."""
