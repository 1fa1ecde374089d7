"""Speed, measured in turns within one run; not part of the product."""
