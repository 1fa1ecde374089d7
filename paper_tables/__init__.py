"""What the paper says, beside what came out: reads `results/` and `papers/`, writes `report/`, and needs no torch."""
