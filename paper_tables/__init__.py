"""What the paper says, beside what came out: reads `results/` and `papers/`, writes `report/`.

Needs pandas, matplotlib, jinja2 and pyyaml; never imports `reproduce`, torch, lightning or wandb, so that a laptop
rebuilds the report from a clone in seconds.
"""
