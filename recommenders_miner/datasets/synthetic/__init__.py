"""The synthetic benchmark: simulated news, users and clicks with a known truth."""
