"""What each command does; torch and the like are imported where they are used, for they take seconds."""
