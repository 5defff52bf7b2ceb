"""`edge-agent demo`: bundled pictures, the real daemon, a broker, and a subscriber that sees what arrives."""
