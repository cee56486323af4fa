"""Control charts whose threshold keeps a promised rate of false alarms."""
