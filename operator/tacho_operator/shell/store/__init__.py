"""What the watches brought: trimmed objects, streamed by reflectors, read by decisions."""
