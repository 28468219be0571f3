"""The subcommands of serving: publish, promote, rollback, models, serve, read."""
