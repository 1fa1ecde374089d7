"""YAML recipes, runs, profiles and overrides become one typed, frozen configuration."""
