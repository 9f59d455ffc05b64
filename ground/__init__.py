"""The ground segment: tables and borders in, commands and files up, telemetry and products down."""
